"""Who may call, as the budget service's directory says it; kept in memory, changed by its stream."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.kernel.pricing import ModelPrice
from services.router.domain.access import Caller


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key, found by the SHA-256 of its secret."""

    caller: Caller
    may_generate: bool
    disabled: bool
    expires_at_s: float | None
    """Unix seconds. None: never."""


@dataclass(frozen=True, slots=True)
class OrganisationFacts:
    """What routing needs to know of an organisation."""

    discount_ppm: int = 0
    data_class: str = ""
    unknown_price_policy: str = ""
    """Empty: refuse; or the `provider/model` whose price stands in."""


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What routing needs to know of a project."""

    team_id: str = ""
    data_class: str = ""
    capture_content: bool = False


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """A price in the book; `organisation_id` empty: for all."""

    price: ModelPrice
    organisation_id: str
    revision: int


@dataclass(slots=True)
class Entries:
    """What a message of the directory's stream brings."""

    keys: Mapping[bytes, KeyEntry] = field(default_factory=dict)
    organisations: Mapping[str, OrganisationFacts] = field(default_factory=dict)
    projects: Mapping[str, ProjectFacts] = field(default_factory=dict)
    prices: Iterable[PriceEntry] = ()
    removed_keys: Iterable[bytes] = ()


class Directory:
    """The whole directory. Changed in place between two awaits, so that a reader never sees half a change."""

    def __init__(self) -> None:
        self.revision = 0
        self.keys: dict[bytes, KeyEntry] = {}
        self.organisations: dict[str, OrganisationFacts] = {}
        self.projects: dict[str, ProjectFacts] = {}
        self._prices: dict[tuple[str, str, object], PriceEntry] = {}
        self._price_owners: set[str] = set()
        self.prices_version = 0
        """Grows whenever a price or a discount changed: views made before are out of date."""

    def apply(self, revision: int, entries: Entries) -> None:
        """Takes new and changed entries in, and removed keys out."""
        self.keys.update(entries.keys)
        for removed in entries.removed_keys:
            self.keys.pop(removed, None)
        self.projects.update(entries.projects)
        if entries.organisations:
            self.organisations.update(entries.organisations)
            self.prices_version += 1
        for entry in entries.prices:
            self._price_owners.add(entry.organisation_id)
            self._prices[entry.organisation_id, entry.price.model, entry.price.effective_from] = entry
            self.prices_version += 1
        if revision:
            self.revision = revision

    def replace(self, revision: int, other: "Directory") -> None:
        """Becomes `other`, which was filled from a snapshot: what it lacks is gone."""
        self.keys, self.organisations, self.projects = other.keys, other.organisations, other.projects
        self._prices, self._price_owners = other._prices, other._price_owners
        self.prices_version += 1
        self.revision = revision

    def team_of_project(self, project_id: str) -> str | None:
        """The team of a project; None: there is no such project."""
        project = self.projects.get(project_id)
        return project.team_id if project is not None else None

    def team_of_key(self, key_id: str) -> str | None:
        """The team of a key, looked for among all: for admins' calls, not for requests."""
        found = (entry.caller.team_id for entry in self.keys.values() if entry.caller.key_id == key_id)
        return next(found, None)

    def prices_of(self, organisation_id: str) -> list[PriceEntry]:
        """The entries of one organisation's own prices; of the empty id: everybody's."""
        return [entry for entry in self._prices.values() if entry.organisation_id == organisation_id]

    def has_own_prices(self, organisation_id: str) -> bool:
        """True if the organisation's prices differ from everybody's."""
        facts = self.organisations.get(organisation_id)
        if facts is not None and (facts.discount_ppm or facts.unknown_price_policy):
            return True
        return organisation_id in self._price_owners
