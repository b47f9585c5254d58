"""What an admin's call is: who calls what, and, where it changes something, the id under which it happens once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.budget.domain.entities import AdminToken
from services.budget.domain.ids import AuditId
from services.kernel.ids import AdminTokenId, OrganisationId, RequestId, TeamId

Document = Mapping[str, Any]
"""An entity as JSON."""


@dataclass(frozen=True, slots=True)
class AdminCall:
    """A call of an RPC of BudgetAdminService."""

    admin: AdminToken
    method: str
    """Such as `UpdateBudget`."""


@dataclass(frozen=True, slots=True)
class AdminChange(AdminCall):
    """A call that changes something."""

    request_id: RequestId
    content_hash: bytes
    """SHA-256 of the request: the same id with another hash is refused."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One change that an admin made."""

    audit_id: AuditId
    occurred_at: datetime
    admin_token_id: AdminTokenId
    method: str
    entity_id: str
    organisation_id: OrganisationId | None
    team_id: TeamId | None
    before: object | None
    """The entity before, or its document when read from the trail. None: there was none."""
    after: object | None
    """The entity after, likewise. None: there is none."""
    change_request_id: RequestId
