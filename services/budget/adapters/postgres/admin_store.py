"""Entities in Postgres, and every admin change as one transaction.

A change is: the lock of its request id, the entity rows it reads (locked), its writes, the trail, the answer; then the
trees whose owner decides by it, in the order of their ids; then the directory's revision, whose row is locked shortest.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import asyncpg

from services.budget.adapters.postgres.alert_store import samples_of
from services.budget.adapters.postgres.archive import write_checkpoint
from services.budget.adapters.postgres.charges import book, put_right, read_charges
from services.budget.adapters.postgres.config_store import PostgresConfigStore
from services.budget.adapters.postgres.ledger_pages import bounds_of, check_whole
from services.budget.adapters.postgres.prices import parameters_of, price_of
from services.budget.adapters.postgres.rows import from_json, from_row, to_json, to_row, to_trail
from services.budget.adapters.postgres.standings import PostgresStandings
from services.budget.adapters.postgres.statements import statements
from services.budget.adapters.postgres.tree_changes import begin_change
from services.budget.admin_ports import Selection
from services.budget.domain.admin import AdminChange, AuditRecord
from services.budget.domain.burn import Sample
from services.budget.domain.charges import Charged, Difference
from services.budget.domain.checkpoints import Balance
from services.budget.domain.config import ConfigChange, ConfigKind
from services.budget.domain.entities import AdminToken, EntityState
from services.budget.domain.ids import AuditId, WebhookId
from services.budget.domain.kinds import Kind
from services.budget.domain.limits import StoredBudget
from services.budget.domain.price_book import StoredPrice
from services.budget.domain.standing import Standing
from services.budget.ports import Connection
from services.budget.use_cases.ledger import RERATED_MAX
from services.chassis.postgres import Database
from services.kernel.errors import AlreadyExists, PreconditionFailed, RequestIdReused
from services.kernel.ids import OrganisationId

E = TypeVar("E")
A = TypeVar("A")

# A reader that was away for longer starts from a snapshot.
DIRECTORY_REVISIONS_KEPT = 10_000
# Trimming is a scan of what there is to trim; once in so many revisions is often enough.
TRIM_EVERY = 100

CONFIG_KINDS = {
    "organisation": (ConfigKind.ORGANISATION, ConfigKind.PRICES),
    "team": (ConfigKind.ORGANISATION,),
    "project": (ConfigKind.ORGANISATION,),
    "user": (ConfigKind.USER,),
    "key": (ConfigKind.KEY,),
    "price": (ConfigKind.PRICES,),
}
_OF_ALL = frozenset({ConfigKind.ORGANISATION, ConfigKind.PRICES})


class PostgresReads:
    """Looks at entities over one connection."""

    def __init__(self, connection: Connection, config: PostgresConfigStore) -> None:
        self._connection = connection
        self._config = config

    async def find(self, kind: Kind[E], entity_id: str) -> E | None:
        if not kind.id_type.pattern.fullmatch(entity_id):
            return None
        row = await self._connection.fetchrow(statements()[f"find_{kind.name}"], entity_id)
        return None if row is None else from_row(row, kind.entity)

    async def select(self, kind: Kind[E], selection: Selection) -> list[E]:
        rows = await self._connection.fetch(
            statements()[f"select_{kind.name}"],
            _text(selection.organisation_id),
            _text(selection.team_id),
            selection.parent_id,
            selection.state,
            selection.after,
            selection.include_archived,
            selection.count,
        )
        return [from_row(row, kind.entity) for row in rows]

    async def audit_records(self, selection: Selection) -> list[AuditRecord]:
        rows = await self._connection.fetch(
            statements()["select_audit_records"],
            _text(selection.organisation_id),
            _text(selection.team_id),
            selection.parent_id,
            selection.after,
            selection.count,
        )
        return [AuditRecord(**dict(row)) for row in rows]

    async def standings(self, budgets: Sequence[StoredBudget], now: datetime) -> list[Standing]:
        if not budgets:
            return []
        in_force = await self._config.in_force(self._connection, budgets)
        standings = PostgresStandings(self._connection)
        return await standings.of(
            budgets[0].organisation_id, [in_force[budget.budget_id] for budget in budgets], now
        )

    async def samples(
        self, budgets: Sequence[StoredBudget], since: datetime
    ) -> Mapping[str, Sequence[Sample]]:
        return await samples_of(self._connection, budgets, since)

    async def tree_mark(self, organisation_id: OrganisationId) -> tuple[int, int]:
        row = await self._connection.fetchrow(statements()["tree_mark"], str(organisation_id))
        return (0, 0) if row is None else (row["sequence"], row["config_revision"])

    async def prices(
        self, organisation_id: OrganisationId | None, models: Sequence[str] | None
    ) -> list[StoredPrice]:
        rows = await self._connection.fetch(
            statements()["select_prices"],
            _text(organisation_id),
            None if models is None else list(models),
        )
        return [price_of(row) for row in rows]

    async def price_revision(self) -> int:
        revision: int = await self._connection.fetchval(statements()["price_revision"])
        return revision


class PostgresWrites(PostgresReads):
    """A change under way in one transaction."""

    def __init__(self, connection: Connection, config: PostgresConfigStore, change: AdminChange) -> None:
        super().__init__(connection, config)
        self._change = change
        self._announced: list[tuple[str, str, bytes | None]] = []
        self._configured: dict[str, list[ConfigChange]] = defaultdict(list)
        self._limits: dict[str, list[StoredBudget]] = defaultdict(list)

    async def find(self, kind: Kind[E], entity_id: str) -> E | None:
        if not kind.id_type.pattern.fullmatch(entity_id):
            return None
        row = await self._connection.fetchrow(statements()[f"lock_{kind.name}"], entity_id)
        return None if row is None else from_row(row, kind.entity)

    async def standings(self, budgets: Sequence[StoredBudget], now: datetime) -> list[Standing]:
        """With the tree locked, so that they stand like this until the change ends."""
        for budget in budgets:
            await self._connection.fetchrow(statements()["lock_tree"], str(budget.organisation_id))
        return await super().standings(budgets, now)

    async def insert(self, kind: Kind[E], entity: E) -> None:
        try:
            await self._connection.execute(statements()[f"insert_{kind.name}"], *to_row(entity))
        except asyncpg.UniqueViolationError as taken:
            name = getattr(entity, "external_id", "") or kind.id_of(entity)
            raise AlreadyExists(kind.label, str(name)) from taken

    async def update(self, kind: Kind[E], entity: E) -> None:
        await self._connection.execute(statements()[f"update_{kind.name}"], *to_row(entity))

    async def record(self, record: AuditRecord) -> None:
        await self._connection.execute(
            statements()["insert_audit_record"],
            str(record.audit_id),
            record.occurred_at,
            str(record.admin_token_id),
            record.method,
            record.entity_id,
            _text(record.organisation_id),
            _text(record.team_id),
            to_trail(record.before),
            to_trail(record.after),
            str(record.change_request_id),
        )

    async def announce(self, kind: str, entity_id: str, *, removed_secret_hash: bytes | None = None) -> None:
        self._announced.append((kind, entity_id, removed_secret_hash))

    async def configure(self, kind: str, entity_id: str, organisation_id: OrganisationId) -> None:
        for config_kind in CONFIG_KINDS[kind]:
            what = ConfigChange(config_kind, "" if config_kind in _OF_ALL else entity_id)
            self._configured[organisation_id].append(what)

    async def put_in_force(self, budgets: Sequence[StoredBudget]) -> None:
        for budget in budgets:
            self._limits[budget.organisation_id].append(budget)

    async def transfer(
        self, source: StoredBudget, target: StoredBudget, amount: int, reason: str, at: datetime
    ) -> None:
        for budget, counterpart, moved in ((source, target, -amount), (target, source, amount)):
            await self._connection.execute(
                statements()["insert_transfer"],
                str(budget.budget_id),
                str(budget.organisation_id),
                str(counterpart.budget_id),
                at,
                moved,
                reason,
                str(self._change.admin.admin_token_id),
                str(self._change.request_id),
            )

    async def rerate(
        self,
        organisation_id: OrganisationId,
        since: datetime,
        until: datetime,
        changed: Callable[[Sequence[Charged]], list[Difference]],
        reason: str,
        dry_run: bool,
    ) -> list[Difference]:
        """Reads the period first, and with the tree locked what was put right meanwhile: holds wait for little."""
        organisation = str(organisation_id)
        connection = self._connection
        await check_whole(connection, organisation, since)
        low, high = await bounds_of(connection, organisation, since=since, until=until)
        seen = (await connection.fetchrow(statements()["tree_of"], organisation) or {"sequence": 0})[
            "sequence"
        ]
        charges = await read_charges(connection, organisation, low, high, seen)
        if dry_run:
            return changed(list(charges))
        tree = await connection.fetchrow(statements()["lock_tree"], organisation)
        if tree is None:
            return []
        await check_whole(connection, organisation, since)  # entries may have left while they were read
        await put_right(connection, organisation, charges, seen, tree["sequence"])
        differences = changed(list(charges))
        if len(differences) > RERATED_MAX:
            raise PreconditionFailed(
                f"{len(differences):,} charges would change, more than {RERATED_MAX:,}: take the period in parts."
            )
        if differences:
            async with begin_change(connection, organisation) as change:
                for difference in differences:
                    await book(connection, tree["tree_no"], change, difference, reason)
        return differences

    async def checkpoint(self, organisation_id: OrganisationId, balance: Balance) -> int:
        return await write_checkpoint(self._connection, str(organisation_id), balance)

    async def delete_webhook(self, webhook_id: WebhookId) -> None:
        await self._connection.execute(statements()["delete_webhook"], str(webhook_id))

    async def add_prices(self, prices: Sequence[StoredPrice]) -> None:
        await self._connection.executemany(statements()["insert_price"], [parameters_of(p) for p in prices])

    async def next_price_revision(self) -> int:
        revision: int = await self._connection.fetchval(statements()["raise_price_revision"])
        return revision

    async def organisation_ids(self) -> list[OrganisationId]:
        rows = await self._connection.fetch(statements()["select_organisation_ids"])
        return [OrganisationId(row["organisation_id"]) for row in rows]

    async def finish(self) -> None:
        """Lets owners and routers know. Last of all, because it locks what everybody needs."""
        for organisation_id in sorted({*self._configured, *self._limits}):
            async with begin_change(self._connection, organisation_id) as tree:
                for what in self._configured[organisation_id]:
                    tree.touch(what)
                changed = self._limits[organisation_id]
                if changed:
                    in_force = await self._config.in_force(self._connection, changed)
                    await tree.limits(list(in_force.values()))
        if self._announced:
            revision = await self._connection.fetchval(statements()["raise_revision"])
            rows = [(revision, position, *what) for position, what in enumerate(self._announced)]
            await self._connection.executemany(statements()["insert_directory_change"], rows)
            await self._connection.execute(statements()["notify_directory"], str(revision))
            if revision % TRIM_EVERY == 0:
                await self._connection.execute(
                    statements()["trim_directory_changes"], DIRECTORY_REVISIONS_KEPT
                )


class PostgresAdminStore:
    """Where entities live."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._config = PostgresConfigStore()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[PostgresReads]:
        async with self._database.transaction(isolation="repeatable_read") as connection:
            yield PostgresReads(connection, self._config)

    async def once(
        self, change: AdminChange, answer: type[A], work: Callable[[PostgresWrites], Awaitable[A]]
    ) -> A:
        admin_token_id, request_id = str(change.admin.admin_token_id), str(change.request_id)
        async with self._database.transaction() as connection:
            await connection.execute(statements()["lock_request"], admin_token_id, request_id)
            before = await connection.fetchrow(statements()["find_request"], admin_token_id, request_id)
            if before is not None:
                if before["method"] != change.method or before["content_hash"] != change.content_hash:
                    raise RequestIdReused(request_id)
                return from_json(before["answer"], answer)
            writes = PostgresWrites(connection, self._config, change)
            made = await work(writes)
            await connection.execute(
                statements()["insert_request"],
                admin_token_id,
                request_id,
                change.method,
                change.content_hash,
                to_json(made),
                change.at,
            )
            await writes.finish()
            return made

    async def admin_token(self, secret_hash: bytes) -> tuple[AdminToken, EntityState | None] | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(statements()["find_admin_token_by_secret"], secret_hash)
        if row is None:
            return None
        state = row["organisation_state"]
        return from_row(row, AdminToken), None if state is None else EntityState(state)

    async def bootstrap(self, token: AdminToken, *, only_if_empty: bool, kept: Callable[[], None]) -> bool:
        """Keeps the first operator's token, once over all replicas; whether it did. `kept` runs before the commit."""
        async with self._database.transaction() as connection:
            await connection.execute(statements()["lock_bootstrap"])
            if only_if_empty and await connection.fetchval(statements()["any_admin_token"]):
                return False
            if await connection.fetchrow(statements()["find_admin_token_by_secret"], token.secret_hash):
                return False
            await connection.execute(statements()["insert_admin_token"], *to_row(token))
            await connection.execute(
                statements()["insert_audit_record"],
                str(AuditId.new()),
                token.created_at,
                str(token.admin_token_id),
                "Bootstrap",
                str(token.admin_token_id),
                None,
                None,
                None,
                to_trail(token),
                "",
            )
            kept()
            return True


def _text(value: str | None) -> str | None:
    return None if value is None else str(value)
