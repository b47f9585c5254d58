"""Who calls and who administers: organisations, teams, projects, users, keys, admin tokens.

Values as they are stored; budgets are in `budgets.py`. `version` counts an entity's changes and is its etag. Numbers of
the enumerations are those of turnpike.budget.v1.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.kernel.ids import AdminTokenId, KeyId, OrganisationId, ProjectId, TeamId, UserId, UserPseudonym

REFUSE_UNKNOWN_PRICES = "refuse"


class EntityState(IntEnum):
    """Whether an entity takes part."""

    ACTIVE = 1
    SUSPENDED = 2
    ARCHIVED = 3


class KeyPermission(IntEnum):
    """What a key may do."""

    GENERATE = 1
    METER = 2
    ACT_FOR_USERS = 3


class Role(IntEnum):
    """What an admin token may do; `roles.py` says what each is allowed."""

    OPERATOR = 1
    ORGANISATION_ADMIN = 2
    TEAM_ADMIN = 3
    VIEWER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A tenant: a tree of its own, seen by nobody else."""

    organisation_id: OrganisationId
    display_name: str
    state: EntityState = EntityState.ACTIVE
    time_zone: str = "UTC"
    discount_ppm: int = 0
    """Taken off every list price, in parts per million."""
    data_class: str = ""
    unknown_price_policy: str = REFUSE_UNKNOWN_PRICES
    """`refuse`, or the "provider/model" whose price stands in."""
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A part of an organisation."""

    team_id: TeamId
    organisation_id: OrganisationId
    display_name: str
    state: EntityState = EntityState.ACTIVE
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An application of a team."""

    project_id: ProjectId
    team_id: TeamId
    organisation_id: OrganisationId
    display_name: str
    state: EntityState = EntityState.ACTIVE
    data_class: str = ""
    """Empty: the organisation's."""
    capture_content: bool = False
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a part of an application, by a pseudonym."""

    user_id: UserId
    organisation_id: OrganisationId
    external_id: UserPseudonym
    state: EntityState = EntityState.ACTIVE
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A tenant's API key; of its secrets only the hashes are known."""

    key_id: KeyId
    project_id: ProjectId
    team_id: TeamId
    organisation_id: OrganisationId
    user_id: UserId | None = None
    display_name: str
    secret_hash: bytes
    secret_prefix: str
    previous_secret_hash: bytes | None = None
    previous_secret_expires_at: datetime | None = None
    state: EntityState = EntityState.ACTIVE
    permissions: tuple[KeyPermission, ...] = (KeyPermission.GENERATE,)
    expires_at: datetime | None = None
    model_patterns: tuple[str, ...] = ()
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminToken:
    """An admin's token; it never calls models, as a key never does admin work."""

    admin_token_id: AdminTokenId
    display_name: str
    role: Role
    organisation_id: OrganisationId | None = None
    """None: every organisation; operators only."""
    team_id: TeamId | None = None
    """None: all of the organisation."""
    secret_hash: bytes
    secret_prefix: str
    state: EntityState = EntityState.ACTIVE
    expires_at: datetime | None = None
    version: int = 1
    created_at: datetime
