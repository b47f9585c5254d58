"""What the budget service needs of its stores, in its own words, and what its two halves need of each other.

The *owner* decides holds in memory and writes the journal. The *admin* half changes entities. They meet in the tree's
row: a change locks it, writes, and raises the tree's configuration revision; the owner's next statement finds that
revision changed, writes nothing, reads what changed, and decides again. So the moment an admin call has returned,
nothing is decided by what was before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.budget.domain.budgets import Budget
from services.budget.domain.config import ConfigChange, TreeConfig, TreeDelta
from services.budget.domain.drafts import Draft
from services.budget.domain.operations import AttemptId
from services.budget.domain.standing import Standing
from services.budget.domain.tree import Tree

Connection = Any
"""An asyncpg connection or pool proxy, in a transaction where the method says so."""


class ConfigStore(Protocol):
    """Where a tree's configuration is kept. Implemented by the admin half (adapters/postgres/config_store.py).

    Every method reads on the connection it is given and raises StoreUnavailable when Postgres does not answer.
    """

    async def load_tree(
        self, connection: Connection, organisation_id: str, revision: int
    ) -> TreeConfig | None:
        """The whole configuration, at least as new as `revision`. None: there is no such organisation."""
        ...

    async def load_changes(
        self, connection: Connection, organisation_id: str, changes: Sequence[ConfigChange], revision: int
    ) -> TreeDelta:
        """What the named things are now; at least as new as `revision`."""
        ...


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A booking onto one window of one budget: what to add to its spent amount; may be negative."""

    budget_id: str
    window_start: datetime
    spent_delta: int


class TreeChange(Protocol):
    """A change of one tree under way, within the caller's transaction; the tree's row is locked until that ends.

    Implemented by the core (adapters/postgres/tree_changes.py, `async with begin_change(connection, organisation_id)
    as change`). Everything is written when the block ends without an exception; the caller commits.
    """

    def touch(self, change: ConfigChange) -> None:
        """Lets the owner read this again before it decides anything more."""
        ...

    async def limits(self, budgets: Sequence[Budget]) -> None:
        """Puts the limits of `budgets`, as they are after the change, in force in their present windows: one LIMIT
        entry with a leg for each window whose limit differs. Touches the budgets itself."""
        ...

    async def adjust(
        self,
        kind: str,
        adjustments: Sequence[Adjustment],
        *,
        amount_nanos: int,
        reason: str,
        about: tuple[str, int] | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> int:
        """Appends a RERATE or ADJUST entry (`kind`) and returns its sequence. `amount_nanos` is the signed difference
        in money, `about` the (request_id, attempt) it puts right, `told` what the entry repeats of that.
        Raises PreconditionFailed if a window's spent amount would become negative."""
        ...

    async def checkpoint(self, parts: Sequence[str]) -> int:
        """Appends the entries of a checkpoint (domain/checkpoints.py) and returns the sequence of the first."""
        ...


class Standings(Protocol):
    """How budgets stand, as of the last commit. Implemented by the core (adapters/postgres/standings.py)."""

    async def of(self, organisation_id: str, budgets: Sequence[Budget], now: datetime) -> list[Standing]:
        """One for each budget, in order: of its window at `now`; of a rolling one the sum of its buckets, which begins
        with the oldest of them. A window nothing was held in yet stands at nothing."""
        ...


class Fenced(Exception):
    """Another changed the tree since it was read; nothing was written."""


class Refused(Exception):
    """A constraint of the store said no; nothing was written."""


class Doubtful(Exception):
    """The connection was lost, or too slow, while something was under way; whether it was written is not known."""


class StoreDown(Exception):
    """The store cannot be reached; nothing was sent."""


@dataclass(slots=True)
class Claimed:
    """A tree that this replica owns."""

    tree_no: int
    epoch: int
    tree: Tree
    config_revision: int
    now_us: int
    """The database's time when it was claimed."""


@dataclass(slots=True)
class Owned:
    """Another replica owns the tree."""

    address: str
    """Empty: its owner is not alive, or there is none."""


class Journal(Protocol):
    """Where what an owner decided becomes true, all of a batch or nothing of it.

    Implemented by adapters/postgres/journal.py. Everything raises StoreDown or Doubtful when the store does not answer;
    after Doubtful the owner forgets the tree and claims it again.
    """

    async def heartbeat(self, replica_id: str, address: str, lease_s: float) -> None:
        """Says that the replica lives for `lease_s` seconds more."""
        ...

    async def forget_dead(self) -> None:
        """Removes replicas that have long been silent."""
        ...

    async def farewell(self, replica_id: str) -> None:
        """Gives all trees of the replica back."""
        ...

    async def claim(self, organisation_id: str, replica_id: str, address: str) -> Claimed | Owned | None:
        """Takes a tree over and reads it; or says who owns it. None: no such organisation."""
        ...

    async def catch_up(self, claimed: Claimed) -> bool:
        """Reads what others changed since the tree was read. False: another owns it, or it must be claimed again."""
        ...

    async def write(self, claimed: Claimed, draft: Draft) -> int:
        """Makes a batch true, or proves that the tree is still as it was decided by; returns the database's time.

        Raises Fenced or Refused too.
        """
        ...

    async def save_checkpoint(self, claimed: Claimed, sequence: int, open_sequences: Sequence[int]) -> None:
        """Remembers what is open at a sequence; only a help for whoever reads the tree next."""
        ...

    async def look_up(self, claimed: Claimed, attempts: Sequence[AttemptId]) -> None:
        """Brings what the ledger says of settled attempts into memory."""
        ...

    async def look_up_counters(self, claimed: Claimed, numbers: Sequence[int]) -> None:
        """Brings counters of windows that are over into memory."""
        ...
