"""The directory: what routers must know to let a key call, without asking for each call."""

from dataclasses import dataclass, field
from datetime import datetime

from services.budget.domain.entities import KeyPermission, Organisation, Project, Team
from services.budget.domain.price_book import StoredPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryKey:
    """One secret of a key, and what it opens."""

    secret_hash: bytes
    organisation_id: str
    team_id: str
    project_id: str
    key_id: str
    user_id: str | None
    permissions: tuple[KeyPermission, ...]
    expires_at: datetime | None
    """When the key ends, or this secret of it. None: never."""
    disabled: bool
    """The key, or something above it, is revoked, suspended or archived."""
    model_patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DirectoryEntries:
    """Parts of the directory."""

    keys: tuple[DirectoryKey, ...] = ()
    organisations: tuple[Organisation, ...] = ()
    teams: tuple[Team, ...] = ()
    projects: tuple[Project, ...] = ()
    prices: tuple[StoredPrice, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectorySnapshot:
    """All of it, at a revision."""

    revision: int
    entries: DirectoryEntries


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """What became of it from one revision to another."""

    since: int
    revision: int
    entries: DirectoryEntries
    removed_key_hashes: tuple[bytes, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class DirectoryHeartbeat:
    """Nothing changed up to now."""

    revision: int


DirectoryMessage = DirectorySnapshot | DirectoryChange | DirectoryHeartbeat
