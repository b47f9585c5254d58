"""Hedging, opt-in: a silent model is raced by the next one; both are held, both are settled, the loser is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.errors import OutcomeUnknown, ServiceUnavailable, TurnpikeError
from services.router.adapters.budget import RemoteHolds
from services.router.adapters.decisions import Decisions
from services.router.domain.breaker import FAILURES_TO_OPEN
from services.router.ports import AttemptKey, Free, Grant, HoldTerms, Receipt, Settlement
from services.router.records import DecisionRecord
from services.router.use_cases.hedging import Lane, Word
from tests.support.conditions import until
from tests.support.governing import decision_of, put_policy
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from tests.support.road import Road, Vendor, road
from tests.support.vendors import failing, speak
from turnpike.providers.v1.providers_pb2 import DispatchEvent

HEDGED = {"hedge_after": {"nanos": 200_000_000}}


class Silent:
    """Says nothing until the other side has gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        await connection.until_closed()
        self.gone.set()


async def late(request: Request, connection: Connection) -> None:
    """Answers when a hedge would have been made, and before whoever rests is back."""
    await asyncio.sleep(0.5)
    await speak(request, connection)


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as sound:
        models = {"first": Vendor(vendor.base_url, quality=0.9), "second": Vendor(sound.base_url)}
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


async def test_a_silent_model_is_raced_and_both_are_booked(on: Road, vendor: RawVendor) -> None:
    silent = vendor.script = Silent()
    events = await on.stream(routing=HEDGED)
    assert events[0].started.model == "local/second"
    finished = events[-1].finished
    assert [attempt.purpose for attempt in finished.attempts] == ["first", "hedge"]
    assert finished.duration.ToNanoseconds() < 2.5e9
    async with asyncio.timeout(5):
        await silent.gone.wait()
    kinds = await on.settled(2)
    assert sorted(kinds) == ["COMMIT 1", "COMMIT 2", "HOLD 1", "HOLD 2"]


async def test_a_quick_model_is_not_raced(on: Road) -> None:
    events = await on.stream(routing={"hedge_after": {"seconds": 5}})
    assert events[0].started.model == "local/first"
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


async def test_if_the_first_fails_the_race_goes_on_without_it(on: Road, vendor: RawVendor) -> None:
    vendor.script = failing(500)
    response = await on.generate(routing=HEDGED)
    assert response.outcome.model == "local/second"
    assert await on.settled(2) == ["HOLD 1", "RELEASE 1", "HOLD 2", "COMMIT 2"]


async def test_nobody_who_rests_is_raced(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> None:
    async with raw_vendor(failing(500)) as broken:
        models = {"first": Vendor(vendor.base_url, quality=0.9), "second": Vendor(broken.base_url)}
        async with road(postgres_dsn, tmp_path, models) as on:
            while len(broken.requests) < FAILURES_TO_OPEN:
                with pytest.raises(TurnpikeError):
                    await on.generate(model="local/second", timeout_s=1.0)
            made = len(broken.requests)
            vendor.script = late
            answer = await on.generate(routing=HEDGED)
            assert [attempt.purpose for attempt in answer.outcome.attempts] == ["first"]
            assert len(broken.requests) == made


async def test_leaving_cancels_both(on: Road, vendor: RawVendor) -> None:
    silent = vendor.script = Silent()
    task = asyncio.create_task(on.stream(routing={"hedge_after": {"seconds": 9}}))
    while not vendor.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    async with asyncio.timeout(5):
        await silent.gone.wait()
    assert len(await on.settled()) == 2


async def test_a_model_that_failed_for_nothing_is_not_charged_if_the_caller_leaves_the_race(
    postgres_dsn: str, tmp_path: Path, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    raced, failure_heard = asyncio.Event(), asyncio.Event()
    word = Lane.word

    def heard(lane: Lane) -> Word:
        said = word(lane)
        if isinstance(said, DispatchEvent) and said.HasField("failed"):
            failure_heard.set()
        return said

    async def failing_behind_the_hedge(request: Request, connection: Connection) -> None:
        await raced.wait()
        await failing(500)(request, connection)

    async def silent(request: Request, connection: Connection) -> None:
        raced.set()
        await connection.until_closed()

    monkeypatch.setattr(Lane, "word", heard)
    vendor.script = failing_behind_the_hedge
    async with raw_vendor(silent) as hedge:
        models = {"first": Vendor(vendor.base_url, quality=0.9), "second": Vendor(hedge.base_url)}
        async with road(postgres_dsn, tmp_path, models) as on:
            task = asyncio.create_task(on.stream(routing=HEDGED))
            async with asyncio.timeout(20):
                await failure_heard.wait()
            task.cancel()
            kinds = await on.settled(2)
    assert sorted(kinds) == ["COMMIT 2", "HOLD 1", "HOLD 2", "RELEASE 1"]


class LosingHolds:
    """The way to the budget service: it loses what is answered to the hedge's hold, and is cut until it is mended."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.mended = asyncio.Event()
        self.freed = asyncio.Event()
        hold, settle = RemoteHolds.hold, RemoteHolds.settle

        async def lost(holds: RemoteHolds, key: AttemptKey, terms: HoldTerms) -> Grant:
            grant = await hold(holds, key, terms)
            if terms.dimensions.get("purpose") == "hedge":
                raise OutcomeUnknown("budget")
            return grant

        async def cut(holds: RemoteHolds, key: AttemptKey, settlement: Settlement) -> Receipt:
            if not isinstance(settlement, Free):
                return await settle(holds, key, settlement)
            if not self.mended.is_set():
                raise ServiceUnavailable("budget")
            try:
                return await settle(holds, key, settlement)
            finally:
                self.freed.set()

        patch.setattr(RemoteHolds, "hold", lost)
        patch.setattr(RemoteHolds, "settle", cut)


async def test_what_frees_a_lost_hold_frees_no_other(
    postgres_dsn: str, tmp_path: Path, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = LosingHolds(monkeypatch)

    async def late_failure(request: Request, connection: Connection) -> None:
        await asyncio.sleep(0.6)  # the hedge has been tried by then
        await failing(500)(request, connection)

    async def behind_the_free(request: Request, connection: Connection) -> None:
        holds.mended.set()
        async with asyncio.timeout(10):
            await holds.freed.wait()
        await speak(request, connection)

    vendor.script = late_failure
    async with raw_vendor(behind_the_free) as sound:
        models = {"first": Vendor(vendor.base_url, quality=0.9), "second": Vendor(sound.base_url)}
        async with road(postgres_dsn, tmp_path, models) as on:
            answer = await on.generate(routing=HEDGED)
            made = [(attempt.purpose, attempt.attempt) for attempt in answer.outcome.attempts]
            assert made == [("first", 1), ("fallback", 3)]
            kinds = await on.settled(3)
            assert sorted(kinds) == ["COMMIT 3", "HOLD 1", "HOLD 2", "HOLD 3", "RELEASE 1", "RELEASE 2"]
            assert answer.outcome.cost.nanos > 0


@pytest.mark.parametrize("mirrored", [False, True])
async def test_the_one_record_has_what_the_loser_and_the_mirror_cost(
    postgres_dsn: str, tmp_path: Path, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    answered = asyncio.Event()
    recorded: list[list[tuple[str, int | None]]] = []
    settle, record = RemoteHolds.settle, Decisions.record

    async def behind_the_answer(holds: RemoteHolds, key: AttemptKey, settlement: Settlement) -> Receipt:
        if key.attempt == 1:
            await answered.wait()
        return await settle(holds, key, settlement)

    def taken(log: Decisions, taking: DecisionRecord) -> None:
        recorded.append([(attempt.purpose, attempt.cost_nanos) for attempt in taking.attempts_and_mirror])
        record(log, taking)

    monkeypatch.setattr(RemoteHolds, "settle", behind_the_answer)
    monkeypatch.setattr(Decisions, "record", taken)
    vendor.script = Silent()
    async with raw_vendor(speak) as sound, raw_vendor(speak) as shadow:
        models = {
            "first": Vendor(vendor.base_url, quality=0.9),
            "second": Vendor(sound.base_url),
            "shadow": Vendor(shadow.base_url, quality=0.1, input_rate=3 * 10**9),
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            if mirrored:
                mirror = f"{{model: local/shadow, share: 1, key: {on.tenant.key.key_id}}}"
                await put_policy(on, f"strategy: capability\nmirror: {mirror}")
            finished = (await on.stream(routing=HEDGED))[-1].finished
            assert [attempt.purpose for attempt in finished.attempts] == ["first", "hedge"]
            if mirrored:

                async def copied() -> bool:
                    return "COMMIT 3" in await on.kinds()

                await until(copied)
            found = (await decision_of(on, finished.decision_id)).decision  # known here before it is recorded
            assert found.attempts[0].purpose == "first"
            assert recorded == []
            answered.set()
            await on.settled(2 + mirrored)

            async def one_record() -> bool:
                return len(recorded) == 1

            await until(one_record)
            purposes = ["first", "hedge", *(["mirror"] if mirrored else [])]
            assert [purpose for purpose, _ in recorded[0]] == purposes
            assert all(cost is not None for _, cost in recorded[0])
