"""What an organisation's tree is decided by: its budgets, who may call, and the price book in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from services.budget.domain.budgets import Budget
from services.kernel.pricing import ModelPrice


class PriceBook(Protocol):
    """Prices in force for one organisation: its own before all others', discounts and stand-ins applied."""

    @property
    def revision(self) -> int:
        """Rises with every change; written into each hold."""
        ...

    def price_of(self, model: str, at: datetime) -> ModelPrice | None:
        """The price of "provider/model" at a moment. None: it has none, and no policy names a stand-in."""
        ...


@dataclass(frozen=True, slots=True)
class KeyInForce:
    """A key as the owner rechecks it at every hold."""

    key_id: str
    project_id: str
    team_id: str
    user_id: str = ""
    """The user it belongs to; empty: none."""
    expires_at: datetime | None = None
    """None: never."""
    revoked: bool = False
    disabled_subject: str = ""
    """What above it is suspended or archived, such as `team:team_01…`; empty: nothing."""
    may_generate: bool = True
    may_meter: bool = False
    may_act_for_users: bool = False


@dataclass(frozen=True, slots=True)
class TreeConfig:
    """The configuration of one organisation's tree."""

    organisation_id: str
    revision: int
    """The tree's configuration revision at which this was read, or an earlier one; never a later one."""
    prices: PriceBook
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    """By id; those that are archived may be left out."""
    keys: Mapping[str, KeyInForce] = field(default_factory=dict)
    """By id; those that are revoked must stay for as long as a router may still name them, an hour."""
    disabled_users: frozenset[str] = frozenset()
    """Users that are suspended or archived, by id and by pseudonym."""
    active: bool = True
    """False: the organisation is suspended or archived; nothing new is held, what is open may be settled."""
    user_ids: Mapping[str, str] = field(default_factory=dict)
    """Ids by the organisation's pseudonyms: a hold may name a user by either, budgets are attached by id."""


class ConfigKind(Enum):
    """What part of a tree's configuration a change is about."""

    BUDGET = "budget"
    KEY = "key"
    USER = "user"
    ORGANISATION = "organisation"
    """The organisation itself, or something that may disable many keys: a team, a project."""
    PRICES = "prices"


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One thing to read again; `id` is a budget's, a key's, a user's, or empty where the kind says all."""

    kind: ConfigKind
    id: str = ""


@dataclass(frozen=True, slots=True)
class TreeDelta:
    """What `ConfigChange`s led to. None: as it was."""

    revision: int
    budgets: Mapping[str, Budget | None] = field(default_factory=dict)
    """By id; None: archived."""
    keys: Mapping[str, KeyInForce | None] = field(default_factory=dict)
    """By id; None: gone."""
    disabled_users: frozenset[str] | None = None
    active: bool | None = None
    prices: PriceBook | None = None
    user_ids: Mapping[str, str] | None = None
