"""What the admin use cases need of their store."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from services.budget.domain.admin import AdminChange, AuditRecord
from services.budget.domain.burn import Sample
from services.budget.domain.charges import Charged, Difference
from services.budget.domain.checkpoints import Balance
from services.budget.domain.entities import AdminToken, EntityState
from services.budget.domain.ids import WebhookId
from services.budget.domain.kinds import Kind
from services.budget.domain.limits import StoredBudget
from services.budget.domain.price_book import StoredPrice
from services.budget.domain.standing import Standing
from services.kernel.ids import OrganisationId, TeamId

E = TypeVar("E")
A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which entities of a kind to list."""

    organisation_id: OrganisationId | None = None
    """None: every organisation's."""
    team_id: TeamId | None = None
    """None: all of the organisation."""
    parent_id: str | None = None
    """Only what hangs from this: a project's keys, a subject's budgets, a budget's overrides. None: all."""
    state: int | None = None
    """Only those in this state. None: as `include_archived` says."""
    include_archived: bool = False
    after: str = ""
    """Only those after this id, in the order of the list."""
    count: int
    newest_first: bool = False


class Sealer(Protocol):
    """Seals secrets, so that the store never has them in the clear."""

    def seal(self, secret: str, bound_to: Sequence[str]) -> bytes:
        """The secret, sealed for what it is bound to."""
        ...


class Reads(Protocol):
    """Looks at entities."""

    async def find(self, kind: Kind[E], entity_id: str) -> E | None:
        """The entity, or None. Within a change its row is locked until the change ends."""
        ...

    async def select(self, kind: Kind[E], selection: Selection) -> list[E]:
        """Entities in the order of their ids, which is that of their making."""
        ...

    async def audit_records(self, selection: Selection) -> list[AuditRecord]:
        """Audit records, newest first; `parent_id` is the entity they are about."""
        ...

    async def standings(self, budgets: Sequence[StoredBudget], now: datetime) -> list[Standing]:
        """How budgets of one organisation stand, in their order."""
        ...

    async def samples(
        self, budgets: Sequence[StoredBudget], since: datetime
    ) -> Mapping[str, Sequence[Sample]]:
        """What budgets had spent since a moment, oldest first; every budget has an entry."""
        ...

    async def tree_mark(self, organisation_id: OrganisationId) -> tuple[int, int]:
        """How far an organisation's ledger and configuration are: while both stay, no budget stands differently."""
        ...

    async def prices(
        self, organisation_id: OrganisationId | None, models: Sequence[str] | None
    ) -> list[StoredPrice]:
        """List prices and the organisation's own, of some models or of all, as they were added."""
        ...

    async def price_revision(self) -> int:
        """The revision of the price book."""
        ...


class Writes(Reads, Protocol):
    """A change under way: all of it is written, or nothing."""

    async def insert(self, kind: Kind[E], entity: E) -> None:
        """Keeps a new entity. Raises AlreadyExists if another has a name of its that must be unique."""
        ...

    async def update(self, kind: Kind[E], entity: E) -> None:
        """Keeps an entity that was found in this change, as it is now."""
        ...

    async def record(self, record: AuditRecord) -> None:
        """Writes to the audit trail."""
        ...

    async def announce(self, kind: str, entity_id: str, *, removed_secret_hash: bytes | None = None) -> None:
        """Tells every replica's directory that this is new, changed or gone."""
        ...

    async def configure(self, kind: str, entity_id: str, organisation_id: OrganisationId) -> None:
        """Lets the organisation's owner read this again before it decides anything more."""
        ...

    async def put_in_force(self, budgets: Sequence[StoredBudget]) -> None:
        """Puts limits of budgets of one organisation, as stored now, in force, with one LIMIT entry in the ledger."""
        ...

    async def add_prices(self, prices: Sequence[StoredPrice]) -> None:
        """Adds to the price book."""
        ...

    async def next_price_revision(self) -> int:
        """The book's next revision; nobody else adds to it until this change ends."""
        ...

    async def organisation_ids(self) -> list[OrganisationId]:
        """Every organisation, in the order in which trees are locked."""
        ...

    async def rerate(
        self,
        organisation_id: OrganisationId,
        since: datetime,
        until: datetime,
        changed: Callable[[Sequence[Charged]], list[Difference]],
        reason: str,
        dry_run: bool,
    ) -> list[Difference]:
        """Books what `changed` makes of a period's charges, with the tree locked; a dry run books nothing.

        Raises PreconditionFailed for more than can be booked at once, EntriesArchived if part of the period has left.
        """
        ...

    async def checkpoint(self, organisation_id: OrganisationId, balance: Balance) -> int:
        """Lets a checkpoint stand for the entries that led to a balance; the sequence of its first entry.

        Raises PreconditionFailed if a hold of then is still open, or they have left already.
        """
        ...

    async def delete_webhook(self, webhook_id: WebhookId) -> None:
        """Removes a receiver, and what was still to be sent to it."""
        ...

    async def transfer(
        self, source: StoredBudget, target: StoredBudget, amount: int, reason: str, at: datetime
    ) -> None:
        """Keeps a transfer between budgets of one organisation."""
        ...


class AdminStore(Protocol):
    """Where entities live. While Postgres does not answer everything raises StoreUnavailable, and nothing is done."""

    def reading(self) -> AbstractAsyncContextManager[Reads]:
        """A consistent view."""
        ...

    async def once(self, change: AdminChange, answer: type[A], work: Callable[[Writes], Awaitable[A]]) -> A:
        """Does `work` in one transaction and keeps its answer; a call with the same request id gets that answer again.

        Raises RequestIdReused if the id came with other content before.
        """
        ...

    async def admin_token(self, secret_hash: bytes) -> tuple[AdminToken, EntityState | None] | None:
        """The admin token with this secret, and the state of its organisation if it has one."""
        ...
