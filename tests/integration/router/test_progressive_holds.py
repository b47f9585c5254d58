"""Holds that grow with a stream: extended in time, or the stream ends, cleanly and saying so, within what is held."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.status import RemoteError
from tests.support.governing import decision_of, put_policy
from tests.support.providers import chat_chunk
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from tests.support.road import Road, Vendor, make_budget, road
from tests.support.vendors import saying
from turnpike.budget.v1 import entities_pb2, ledger_pb2
from turnpike.common.v1 import content_pb2, error_pb2

WORDS = 800
RATE = 4_000
"""Nano-USD of an output token."""
GROWING = "output: {progressive_tokens: 1024}"
EXTENDED = ledger_pb2.LEDGER_ENTRY_KIND_EXTEND


PAUSE_S = 0.002


class Endless:
    """Speaks until the other side has gone, at the pace of a quick vendor."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.said = 0

    async def __call__(self, request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        try:
            while True:
                await connection.chunk(chat_chunk(content="hello "))
                self.said += 1
                await asyncio.sleep(PAUSE_S)
        except ConnectionError:
            self.gone.set()
            raise


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying(" ".join(["hello"] * WORDS))) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    models: dict[str, Vendor | str] = {
        "one": vendor.base_url,
        "thinking": Vendor(vendor.base_url, quality=0.1, can=("reasoning",)),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


async def extensions(on: Road) -> list[int]:
    return [entry.amount.nanos for entry in await on.ledger() if entry.kind == EXTENDED]


async def test_a_hold_is_extended_while_there_is_room(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, GROWING)
    events = await on.stream(cap=4000)
    assert events[-2].delta.finish_reason == content_pb2.FINISH_REASON_STOP
    assert json.loads(vendor.requests[0].body)["max_tokens"] == 4000  # the cap that is sent is the caller's
    hold = (await on.ledger())[0]
    assert 1024 * RATE < hold.amount.nanos < 1100 * RATE + 1_000_000
    grown = await extensions(on)
    assert grown == [1024 * RATE]  # 800 words are counted as 1,600 tokens; the margin is 256
    attempt = events[-1].finished.attempts[0]
    assert attempt.held.nanos == hold.amount.nanos + sum(grown)
    assert attempt.cost.nanos < attempt.held.nanos


async def test_without_room_the_stream_ends_and_says_so(on: Road, vendor: RawVendor) -> None:
    endless = vendor.script = Endless()
    await put_policy(on, GROWING)
    await make_budget(
        on,
        entities_pb2.Budget(
            subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
            unit=error_pb2.BUDGET_UNIT_MONEY,
            limit=9_500_000,
            display_name="tight",
        ),
    )
    events = await on.stream(cap=4000)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", *["delta"] * (len(events) - 2), "finished"]
    assert events[-2].delta.finish_reason == content_pb2.FINISH_REASON_BUDGET
    finished = events[-1].finished
    assert finished.attempts[0].failure == error_pb2.ERROR_REASON_BUDGET_EXHAUSTED
    assert len(await extensions(on)) == 1
    # Once in the hold's room, never beyond it: what the vendor said after the end is in the margin.
    assert 0 < finished.cost.nanos <= finished.attempts[0].held.nanos <= 9_500_000
    assert finished.usage.output_tokens > 800
    assert (await on.ledger())[-1].dimensions["cut"] == "budget"
    async with asyncio.timeout(5):
        await endless.gone.wait()
    decision = (await decision_of(on, finished.decision_id)).decision
    assert decision.failure == error_pb2.ERROR_REASON_UNSPECIFIED


async def test_what_a_budget_cut_off_is_given_to_nobody_else(on: Road, vendor: RawVendor) -> None:
    vendor.script = Endless()
    await put_policy(on, f"{GROWING}\ncache: {{ttl_s: 60}}")
    await make_budget(
        on,
        entities_pb2.Budget(
            subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
            unit=error_pb2.BUDGET_UNIT_MONEY,
            limit=9_500_000,
            display_name="tight",
        ),
    )
    cut = await on.stream(cap=4000, routing={"use_cache": True})
    assert cut[-2].delta.finish_reason == content_pb2.FINISH_REASON_BUDGET
    try:
        again = await on.stream(cap=4000, routing={"use_cache": True})
    except RemoteError as refused:
        assert refused.reason == "BUDGET_EXHAUSTED"
    else:
        assert not again[-1].finished.from_cache


async def test_what_would_not_fit_whole_fits_growing(on: Road) -> None:
    """A budget with room for the beginning alone refuses the whole cap, and admits a hold that grows."""
    await make_budget(
        on,
        entities_pb2.Budget(
            subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
            unit=error_pb2.BUDGET_UNIT_MONEY,
            limit=9_500_000,
            display_name="tight",
        ),
    )
    with pytest.raises(Exception, match="tight"):
        await on.stream(cap=4000)
    await put_policy(on, GROWING)
    assert (await on.stream(cap=4000))[-1].HasField("finished")


async def test_whole_answers_and_models_that_think_are_held_whole(on: Road) -> None:
    await put_policy(on, GROWING)
    await on.generate(cap=4000)
    await on.stream(cap=4000, model="local/thinking")
    held = [
        entry.amount.nanos for entry in await on.ledger() if entry.kind == ledger_pb2.LEDGER_ENTRY_KIND_HOLD
    ]
    assert all(amount > 4000 * RATE for amount in held)
    assert await extensions(on) == []
