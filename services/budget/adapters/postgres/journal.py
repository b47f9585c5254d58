"""The journal: what a tree's owner decided becomes true here, all of a batch or nothing of it.

What Postgres says is told apart by what may be known afterwards. `Fenced`: nothing was written, another changed the
tree. `Refused`: nothing was written, a constraint said no. `Doubtful`: the connection was lost or too slow while it
wrote; whether the batch is true only the store knows, so the owner forgets the tree and reads it again. `StoreDown`:
nothing was sent.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import asyncpg

from services.budget.adapters.postgres.connections import Connections
from services.budget.adapters.postgres.gently import gently
from services.budget.adapters.postgres.statements import statements
from services.budget.domain.config import ConfigChange, ConfigKind, TreeConfig, TreeDelta
from services.budget.domain.counters import Counter
from services.budget.domain.drafts import Draft
from services.budget.domain.entries import text
from services.budget.domain.moments import from_us, to_us
from services.budget.domain.operations import AttemptId
from services.budget.domain.recovery import (
    adopt,
    holds_in,
    install_counters,
    know_counters,
    missing_counters,
    take_in,
)
from services.budget.domain.tree import Tree
from services.budget.domain.windows import rolling_since
from services.budget.ports import Claimed, ConfigStore, Doubtful, Fenced, Owned, Refused

SECRET_BYTES = 32
"""Of the key that signs a tree's leases."""
WRITE_PATIENCE_S = 30.0
"""What was sent may still become true, so it is waited for, long after its callers were told that nobody knows."""
CLAIM_PATIENCE_S = 60.0
"""A tree with a hundred thousand budgets on a busy machine; whoever waits for it is told long before."""
READING_A_TREE = (
    "SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL plan_cache_mode = force_custom_plan"
)
"""It locks nothing, and between two statements a large tree is built. Its statements are planned for the sequences they
are given: a plan for any sequence expects a third of the ledger, and may read all of it for the last few entries."""
RECENT_ENTRIES = 2_000
"""What a new owner remembers of attempts that are settled."""
NO_ROLE = 65535
"""Stands for the role of an entry that has none (sql/queries.sql, write_batch)."""
_REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.DataCorruptedError)


class PostgresJournal:
    """One replica's way to the store; shared by the owners of all its trees."""

    def __init__(self, connections: Connections, configs: ConfigStore) -> None:
        self._connections = connections
        self._configs = configs

    # ---- liveness ----------------------------------------------------------------------------------------------------

    async def heartbeat(self, replica_id: str, address: str, lease_s: float) -> None:
        """Says that the replica lives for `lease_s` seconds more."""
        async with self._connections.use() as connection:
            await connection.execute(statements()["heartbeat"], replica_id, address, lease_s)

    async def forget_dead(self) -> None:
        """Removes replicas that have long been silent."""
        async with self._connections.use() as connection:
            await connection.execute(statements()["forget_dead_replicas"])

    async def farewell(self, replica_id: str) -> None:
        """Gives all trees of the replica back."""
        async with self._connections.use() as connection:
            await connection.execute(statements()["farewell"], replica_id)

    # ---- ownership ---------------------------------------------------------------------------------------------------

    async def claim(self, organisation_id: str, replica_id: str, address: str) -> Claimed | Owned | None:
        """Takes a tree over, then reads it as it is at one moment; or says who owns it. None: no such organisation.

        Nothing is locked while it is read: only its owner writes in it, and what an admin changes meanwhile is found by
        the fence.
        """
        async with self._connections.use(CLAIM_PATIENCE_S) as connection:
            row = await connection.fetchrow(statements()["claim"], organisation_id, replica_id, address)
            if row is None:
                owner = await connection.fetchrow(statements()["owner_of"], organisation_id)
                if owner is None:
                    return await self._plant(connection, organisation_id)
                return Owned(owner["owner_address"] if owner["alive"] else "")
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(READING_A_TREE)
                state = await connection.fetchrow(statements()["tree_state"], row["tree_no"])
                revision = state["config_revision"]
                config = await self._configs.load_tree(connection, organisation_id, revision)
                if config is None:
                    return None
                tree = await self._read(connection, state, config)
            return Claimed(row["tree_no"], row["epoch"], tree, revision, state["now_us"])

    async def _plant(self, connection: Any, organisation_id: str) -> Owned | None:
        """Makes the tree of an organisation that has none yet; the next claim finds it."""
        if await self._configs.load_tree(connection, organisation_id, 0) is None:
            return None
        await connection.execute(statements()["new_tree"], organisation_id, secrets.token_bytes(SECRET_BYTES))
        return Owned("")

    async def _read(self, connection: Any, row: Any, config: TreeConfig) -> Tree:
        tree_no = row["tree_no"]
        tree = Tree(
            config,
            sequence=row["sequence"],
            head=row["head"],
            next_counter=row["next_counter"],
            secret=row["secret"],
            in_steps=True,
        )
        await gently(tree.index())
        tree.now_us = row["last_at_us"]
        now_us = max(row["now_us"], tree.now_us)
        rolling = [(slot.budget.budget_id, slot.rolling) for slot in tree.slots.values() if slot.rolling]
        since = [to_us(rolling_since(window, from_us(now_us))) for _, window in rolling]
        rows = await connection.fetch(
            statements()["live_counters"], tree_no, now_us, [budget_id for budget_id, _ in rolling], since
        )
        await gently(install_counters(tree, map(_counter, rows), now_us))
        checkpoint = await connection.fetchrow(statements()["checkpoint_of"], tree_no)
        after, still_open = (checkpoint["sequence"], checkpoint["open_sequences"]) if checkpoint else (0, [])
        # Somewhat more than what is open: callers repeat what they asked of the last owner.
        recent = max(0, tree.sequence - RECENT_ENTRIES)
        entries = await connection.fetch(
            statements()["bodies_to_begin_with"], tree_no, after, recent, still_open
        )
        holds = holds_in(entry["body"] for entry in entries)
        missing = missing_counters(tree, holds.values())
        if missing:
            rows = await connection.fetch(statements()["counters_by_no"], tree_no, list(missing))
            know_counters(tree, map(_counter, rows))
        renewals = {
            row["hold_sequence"]: row["expires_us"]
            for row in await connection.fetch(statements()["renewals"], tree_no)
        }
        adopt(tree, holds.values(), renewals)
        return tree

    async def catch_up(self, claimed: Claimed) -> bool:
        """Reads what others changed since the tree was read. False: another owns it, or it must be claimed again."""
        tree = claimed.tree
        async with (
            self._connections.use() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(statements()["tree_state"], claimed.tree_no)
            if row is None or row["epoch"] != claimed.epoch:
                return False
            revision = row["config_revision"]
            changed = [
                ConfigChange(ConfigKind(change["kind"]), change["id"])
                for change in await connection.fetch(
                    statements()["config_changes_since"], claimed.tree_no, claimed.config_revision
                )
            ]
            entries = await connection.fetch(statements()["bodies_since"], claimed.tree_no, tree.sequence)
            delta = (
                await self._configs.load_changes(connection, tree.organisation_id, changed, revision)
                if changed
                else TreeDelta(revision)
            )
        if tree.must_be_read_again(delta):
            return False
        tree.change(delta)
        if not take_in(tree, (entry["body"] for entry in entries), row["sequence"]):
            return False
        tree.sequence, tree.head, tree.next_counter = row["sequence"], row["head"], row["next_counter"]
        claimed.config_revision = revision
        return True

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def write(self, claimed: Claimed, draft: Draft) -> int:
        """Makes a batch true; returns the database's time. Raises Fenced, Refused, Doubtful or StoreDown."""
        async with self._connections.use(WRITE_PATIENCE_S) as connection:
            try:
                if draft.is_empty:
                    row = await connection.fetchrow(
                        statements()["prove_fence"],
                        claimed.tree_no,
                        claimed.epoch,
                        claimed.tree.sequence,
                        claimed.config_revision,
                    )
                elif draft.opened or draft.limits or draft.renewals or draft.alerts:
                    row = await self._write_with_more(connection, claimed, draft)
                else:
                    row = await connection.fetchrow(statements()["write_batch"], *_batch(claimed, draft))
            except _REFUSED as refused:
                raise Refused(str(refused)) from refused
            if row["trees"] != 1:
                raise Fenced(claimed.tree.organisation_id)
            now_us: int = row["now_us"]
            return now_us

    async def _write_with_more(self, connection: Any, claimed: Claimed, draft: Draft) -> Any:
        tree_no, tree = claimed.tree_no, claimed.tree
        async with connection.transaction():
            row = await connection.fetchrow(statements()["write_batch"], *_batch(claimed, draft))
            if row["trees"] != 1:
                return row
            if draft.opened:
                await connection.execute(statements()["open_counters"], tree_no, *_opened(tree, draft))
            if draft.limits:
                numbers = sorted(draft.limits)
                await connection.execute(
                    statements()["change_limits"],
                    tree_no,
                    numbers,
                    [draft.limits[no] for no in numbers],
                    [tree.ceiling(tree.counters[no]) for no in numbers],
                )
            if draft.renewals:
                await connection.execute(
                    statements()["renew_leases"],
                    tree_no,
                    list(draft.renewals),
                    list(draft.renewals.values()),
                )
            if draft.alerts:
                sequences, kinds, facts = zip(*draft.alerts, strict=True)
                await connection.execute(
                    statements()["put_out"], tree_no, sequences, kinds, [text(fact) for fact in facts]
                )
        return row

    async def save_checkpoint(self, claimed: Claimed, sequence: int, open_sequences: Sequence[int]) -> None:
        """Remembers what is open at a sequence; only a help for whoever reads the tree next."""
        async with self._connections.use() as connection:
            await connection.execute(
                statements()["save_checkpoint"], claimed.tree_no, sequence, open_sequences
            )

    # ---- looking up --------------------------------------------------------------------------------------------------

    async def look_up(self, claimed: Claimed, attempts: Sequence[AttemptId]) -> None:
        """Brings what the ledger says of these attempts into memory, as far as it is no longer there.

        Raises Doubtful if another owns the tree meanwhile: what he wrote must not be mixed with what was known before.
        """
        tree = claimed.tree
        async with self._connections.use() as connection:
            rows = await connection.fetch(
                statements()["entries_of_attempts"],
                claimed.tree_no,
                [request_id for request_id, _ in attempts],
                [attempt for _, attempt in attempts],
            )
            _still_owned(claimed, rows)
            archived = rows[0]["archived"] if rows else 0
            holds = holds_in((row["body"] for row in rows), archived)
            missing = missing_counters(tree, holds.values())
            if missing:
                found = await connection.fetch(statements()["counters_by_no"], claimed.tree_no, list(missing))
                _still_owned(claimed, found)
                know_counters(tree, map(_counter, found))
        adopt(tree, [hold for hold in holds.values() if hold.receipt is not None], {})

    async def look_up_counters(self, claimed: Claimed, numbers: Sequence[int]) -> None:
        """Brings counters of windows that are over into memory, for a correction. Raises Doubtful as above."""
        async with self._connections.use() as connection:
            rows = await connection.fetch(statements()["counters_by_no"], claimed.tree_no, numbers)
            _still_owned(claimed, rows)
        know_counters(claimed.tree, map(_counter, rows))


def _still_owned(claimed: Claimed, rows: Sequence[Any]) -> None:
    if rows and rows[0]["epoch"] != claimed.epoch:
        raise Doubtful("another owns the tree by now")


def _counter(row: Any) -> Counter:
    return Counter(
        row["no"],
        row["budget_id"],
        row["unit"],
        row["start_us"],
        row["end_us"],
        row["lim"],
        held=row["held"],
        spent=row["spent"],
        overage=row["overage"],
        unconfirmed=row["unconfirmed"],
        open=row["open"],
        alerted=row["alerted"],
    )


def _batch(claimed: Claimed, draft: Draft) -> tuple[Any, ...]:
    """Arguments of write_batch."""
    tree = claimed.tree
    codes, request_ids, bodies, hashes, starts = [], [], [], [], [1]
    at = 1
    for entry in draft.entries:
        role, body = entry.role, entry.body
        codes.append(entry.kind | (NO_ROLE if role is None else role) << 4 | entry.attempt << 20)
        request_ids.append(entry.request_id)
        bodies.append(body)
        hashes.append(entry.hash)
        at += len(body)
        starts.append(at)
    moves = [
        (
            counter.no,
            counter.held - was_held,
            counter.spent - was_spent,
            counter.overage - was_overage,
            counter.unconfirmed - was_unconfirmed,
            counter.open - was_open,
            counter.alerted,
        )
        for counter, (was_held, was_spent, was_overage, was_unconfirmed, was_open, _) in draft.touched
    ]
    moves.sort()
    return (
        claimed.tree_no,
        claimed.epoch,
        draft.base_sequence,
        claimed.config_revision,
        tree.sequence,
        tree.head,
        tree.next_counter,
        draft.now_us,
        _array(codes),
        '{"' + '","'.join(request_ids) + '"}'
        if request_ids
        else "{}",  # nothing in them needs an escape (convert.py)
        _array(starts),
        b"".join(bodies),
        b"".join(hashes),
        *(map(_array, zip(*moves, strict=True)) if moves else ("{}",) * 7),
    )


def _array(numbers: Sequence[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _opened(tree: Tree, draft: Draft) -> tuple[Any, ...]:
    """Arguments of open_counters after the tree's number."""
    rows = [
        (
            counter.no,
            counter.budget_id,
            counter.unit,
            counter.start_us,
            counter.end_us,
            counter.limit,
            tree.ceiling(counter),
            *counter.figures(),
        )
        for counter in draft.opened
    ]
    return tuple(zip(*rows, strict=True))
