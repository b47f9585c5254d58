"""What admins have set, as it is kept: policies in versions, grants, aliases, and the trail of changes."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from services.kernel.ids import MadeId


class GrantId(MadeId):
    """A model grant."""

    __slots__ = ()
    prefix = "grant"


class RouterAuditId(MadeId):
    """A record of the router's audit trail."""

    __slots__ = ()
    prefix = "raud"


class PolicyState(Enum):
    """Whether a policy acts."""

    ACTIVE = "active"
    SHADOW = "shadow"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """One version of a policy."""

    policy_id: str
    organisation_id: str
    scope: str
    """`organisation:…`, `team:…` or `project:…`."""
    version: int
    document_yaml: str
    state: PolicyState
    comment: str
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A model grant."""

    grant_id: str
    organisation_id: str
    subject: str
    model_pattern: str
    deny: bool
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """A part of an alias."""

    model: str
    permille: int


@dataclass(frozen=True, slots=True)
class StoredAlias:
    """An alias."""

    organisation_id: str
    alias: str
    targets: tuple[AliasTarget, ...]
    mirror_model: str
    mirror_permille: int
    version: int


SHIPPED_PRIOR = "shipped"
"""Version of the prior that comes with the router."""


@dataclass(frozen=True, slots=True)
class StoredPrior:
    """A prior that is or was in force; its file is kept beside it."""

    version: str
    findings: tuple[str, ...]
    promoted_by: str
    promoted_at: datetime


Entity = StoredPolicy | StoredGrant | StoredAlias | StoredPrior


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what, when, under which id."""

    request_id: str
    content_hash: bytes
    method: str
    admin_token_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One change an admin made."""

    audit_id: str
    occurred_at: datetime
    admin_token_id: str
    method: str
    entity_id: str
    organisation_id: str
    before_json: str
    """Empty: there was none."""
    after_json: str
    """Empty: there is none."""
