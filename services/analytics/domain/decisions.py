"""Decision records, as the store keeps them: what is asked for by, and the record itself as it came."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision. `record` is the serialised turnpike.router.v1.Decision: it is kept and given back untouched."""

    organisation_id: str
    decision_id: str
    request_id: str
    decided_at: datetime
    team_id: str
    project_id: str
    key_id: str
    user_id: str
    model: str
    """The model that was called last; empty: none was."""
    task: str
    failed: bool
    attempts: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What many decisions were made from, as the router wrote it."""

    snapshot_id: bytes
    content: bytes
