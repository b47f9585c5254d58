"""What decisions were made from is kept once, as long as a record names it, and then forgotten with the records."""

from datetime import UTC, datetime, timedelta

from services.analytics.adapters.postgres import PostgresDecisions
from services.analytics.convert import from_pb_decision
from services.analytics.domain.decisions import DecisionRecord, Snapshot
from services.analytics.use_cases.forget import ROWS_MAX, Forget
from services.chassis.postgres import Database
from services.kernel.clock import ManualClock
from turnpike.common.v1.principal_pb2 import Principal
from turnpike.router.v1.decision_pb2 import Decision

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
KEPT = timedelta(days=30)


def record(name: str, at: datetime) -> DecisionRecord:
    decision = Decision(decision_id=name, request_id=name, principal=Principal(organisation_id="org_1"))
    decision.decided_at.FromDatetime(at)
    return from_pb_decision(decision)


def snapshot(name: str) -> Snapshot:
    return Snapshot(name.encode(), b"content of " + name.encode())


async def kept(store: PostgresDecisions, *names: str) -> set[str]:
    found = await store.snapshots([name.encode() for name in names])
    assert all(each.content == b"content of " + each.snapshot_id for each in found)
    return {each.snapshot_id.decode() for each in found}


async def test_a_snapshot_is_stored_once_and_found_by_its_name(database: Database) -> None:
    store = PostgresDecisions(database)
    assert await store.store([record("a", NOW)], [snapshot("one"), snapshot("two")]) == 1
    assert await store.store([record("b", NOW)], [snapshot("two"), snapshot("three")]) == 1
    assert await kept(store, "one", "two", "three", "four") == {"one", "two", "three"}


async def test_a_snapshot_that_is_told_twice_is_stored_once(database: Database) -> None:
    store = PostgresDecisions(database)
    told = [snapshot("one"), snapshot("two"), snapshot("one")]
    assert await store.store([record("a", NOW), record("a", NOW)], told) == 1
    assert await store.store([record("b", NOW + timedelta(days=1))], told) == 1  # their day moves, once each
    assert await kept(store, "one", "two") == {"one", "two"}


async def test_records_and_what_only_they_name_are_forgotten(database: Database) -> None:
    store = PostgresDecisions(database)
    long_ago, of_late = NOW - KEPT - timedelta(days=2), NOW - timedelta(days=1)
    await store.store([record("old", long_ago)], [snapshot("old"), snapshot("both")])
    await store.store([record("new", of_late)], [snapshot("both"), snapshot("new")])
    await store.store([record("late", long_ago)], [snapshot("both")])  # told late: its use is known already
    forget = Forget(store, ManualClock(NOW), KEPT)
    assert await forget.once() == 3
    assert await forget.once() == 0
    assert await kept(store, "old", "both", "new") == {"both", "new"}
    assert await store.by_id("org_1", "old", "") is None
    assert await store.by_id("org_1", "new", "") is not None


async def test_no_more_than_a_piece_goes_at_once(database: Database) -> None:
    store = PostgresDecisions(database)
    await store.store([record(str(each), NOW - KEPT - timedelta(days=1)) for each in range(ROWS_MAX + 1)])
    forget = Forget(store, ManualClock(NOW), KEPT)
    assert [await forget.once() for _ in range(3)] == [ROWS_MAX, 1, 0]
