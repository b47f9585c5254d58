"""The router over real gRPC to the real budget and providers services, with vendors on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from services.router.convert_requests import MESSAGES_MAX, PARTS_MAX
from services.router.use_cases.attempt import CREDIT_EVERY
from tests.support.budget_admin import request_id as new_id
from tests.support.conditions import until
from tests.support.governing import put_policy
from tests.support.providers import USAGE, chat_answer, chat_chunk
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from tests.support.road import Road, Vendor, make_budget, request, road
from tests.support.vendors import Waiting, cut, failing, speak, stall, stalling
from turnpike.budget.v1 import budget_admin_pb2, entities_pb2, ledger_pb2
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.router.v1 import router_pb2, router_pb2_grpc

CHEAP: dict[str, Any] = {"input_rate": 100_000_000, "output_rate": 400_000_000}


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor, other: RawVendor) -> AsyncIterator[Road]:
    """Two models: `local/cheap` at `vendor`, `local/dear`, better and dearer, at `other`."""
    models = {
        "cheap": Vendor(vendor.base_url, quality=0.6, **CHEAP),
        "dear": Vendor(other.base_url, quality=0.62),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


async def test_a_request_is_answered_charged_and_explained(on: Road) -> None:
    response = await on.generate(request_id="first")
    assert response.choices[0].message.parts[0].text.text == "hello you"
    outcome = response.outcome
    assert (outcome.request_id, outcome.model) == ("first", "local/cheap")
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (5, 2)
    assert outcome.cost.nanos == round((5 * 100_000_000 + 2 * 400_000_000) / 1_000_000)
    assert outcome.max_output_tokens == 64
    assert [attempt.purpose for attempt in outcome.attempts] == ["first"]
    entries = await on.ledger()
    assert [ledger_pb2.LedgerEntryKind.Name(entry.kind) for entry in entries] == [
        "LEDGER_ENTRY_KIND_HOLD",
        "LEDGER_ENTRY_KIND_COMMIT",
    ]
    assert entries[1].amount.nanos == outcome.cost.nanos

    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=outcome.decision_id, replay=True),
        timeout_s=5,
    )
    assert found.identical
    decision = found.decision
    assert [candidate.model for candidate in decision.candidates] == ["local/cheap", "local/dear"]
    assert decision.plan[0] == "local/cheap"
    assert decision.cost.nanos == outcome.cost.nanos
    assert decision.attempts[0].usage.output_tokens == 2


async def test_an_answer_that_ends_at_its_cap_is_booked_as_cut(on: Road, vendor: RawVendor) -> None:
    """The vendor says two tokens, and of a whole answer why it ended."""

    async def cut_short(request: Request, connection: Connection) -> None:
        await connection.answer(chat_answer().replace(b'"stop"', b'"length"'))

    for cap in (2, 3):
        await on.stream(cap=cap)
        await on.generate(cap=cap)
    vendor.script = cut_short
    await on.generate(cap=2)
    commits = [entry for entry in await on.ledger() if entry.kind == ledger_pb2.LEDGER_ENTRY_KIND_COMMIT]
    assert [entry.dimensions.get("cut", "") for entry in commits] == ["length", "", "", "", "length"]


async def test_a_stream_comes_in_pieces_and_ends_with_the_outcome(on: Road) -> None:
    events = await on.stream()
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", *["delta"] * (len(kinds) - 2), "finished"]
    assert "".join(event.delta.text for event in events) == "hello you"
    assert events[0].started.model == "local/cheap"
    finished = events[-1].finished
    assert finished.usage.output_tokens == 2
    assert finished.time_to_first_token.ToNanoseconds() > 0
    assert finished.cost.nanos > 0


async def test_what_comes_together_is_told_together_and_all_of_it(on: Road, vendor: RawVendor) -> None:
    words = [f"{number} " for number in range(5 * CREDIT_EVERY)]

    async def burst(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(b"".join(chat_chunk(content=word) for word in words))
        await connection.chunk(
            chat_chunk(finish_reason="stop") + chat_chunk(usage=USAGE) + b"data: [DONE]\n\n"
        )
        await connection.end_stream()

    vendor.script = burst
    events = await on.stream()
    assert "".join(event.delta.text for event in events) == "".join(words)
    assert len(events) < len(words)


async def test_a_named_model_is_the_only_candidate(on: Road, other: RawVendor) -> None:
    response = await on.generate(model="local/dear")
    assert response.outcome.model == "local/dear"
    assert len(other.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_failure_moves_to_the_next_candidate_at_its_own_price(
    on: Road, vendor: RawVendor, status: int
) -> None:
    vendor.script = failing(status)
    response = await on.generate()
    assert response.outcome.model == "local/dear"
    assert [attempt.purpose for attempt in response.outcome.attempts] == ["first", "fallback"]
    first, second = response.outcome.attempts
    assert second.held.nanos > first.held.nanos
    assert first.failure != error_pb2.ERROR_REASON_UNSPECIFIED
    assert await on.settled(2) == ["HOLD 1", "RELEASE 1", "HOLD 2", "COMMIT 2"]


async def test_a_stream_that_is_cut_before_its_first_token_falls_back(on: Road, vendor: RawVendor) -> None:
    vendor.script = failing(502)
    events = await on.stream()
    assert events[0].started.model == "local/dear"
    assert events[0].started.attempt == 2


async def test_a_stream_that_is_cut_after_its_first_token_ends_typed_and_is_charged(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    vendor.script = cut
    seen = []
    with pytest.raises(RemoteError) as raised:
        async for event in on.streaming():
            seen.append(event)
    assert raised.value.reason == "STREAM_INTERRUPTED"
    failures = raised.value.detail(error_pb2.AttemptFailures)
    assert failures is not None
    assert failures.attempts[0].model == "local/cheap"
    assert failures.attempts[0].cost.nanos > 0
    assert [event.WhichOneof("event") for event in seen] == ["started", "delta"]
    assert other.requests == []
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


async def test_when_all_fail_each_is_named(on: Road, vendor: RawVendor, other: RawVendor) -> None:
    vendor.script = other.script = failing(500)
    with pytest.raises(RemoteError) as raised:
        await on.generate(routing={"attempts_max": 2})
    assert raised.value.reason == "ALL_ATTEMPTS_FAILED"
    failures = raised.value.detail(error_pb2.AttemptFailures)
    assert failures is not None
    assert [failure.model for failure in failures.attempts] == ["local/cheap", "local/dear"]
    assert await on.settled(2) == ["HOLD 1", "RELEASE 1", "HOLD 2", "RELEASE 2"]


async def test_a_request_that_is_itself_at_fault_is_not_tried_elsewhere(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    vendor.script = failing(400, {"error": {"message": "bad image", "type": "invalid_request_error"}})
    with pytest.raises(RemoteError) as raised:
        await on.generate()
    assert raised.value.reason == "VENDOR_REJECTED_REQUEST"
    assert other.requests == []


async def test_cancelling_cancels_the_vendor_and_charges_what_was_used(on: Road, vendor: RawVendor) -> None:
    waiting = vendor.script = Waiting()
    events = on.streaming()
    await anext(events)
    await anext(events)
    begun = asyncio.get_running_loop().time()
    await events.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await waiting.gone.wait()
    assert asyncio.get_running_loop().time() - begun < 1.0
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]
    entries = await on.ledger()
    assert entries[-1].outcome == "CANCELLED"
    assert entries[-1].amount.nanos < entries[0].amount.nanos


async def test_a_deadline_that_passes_charges_what_was_used(on: Road, vendor: RawVendor) -> None:
    vendor.script = Waiting()
    with pytest.raises(Exception, match=r"(?i)deadline"):
        await on.stream(timeout_s=0.7)
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


@pytest.mark.parametrize("begun", [None, b"", b"\n \n", b'{"choices": ['])
async def test_a_stalled_vendor_is_left_for_the_next(
    on: Road, vendor: RawVendor, begun: bytes | None
) -> None:
    vendor.script = stall if begun is None else stalling(begun)
    response = await on.generate(timeout_s=9.0)
    assert response.outcome.model == "local/dear"
    assert response.outcome.attempts[0].failure == error_pb2.ERROR_REASON_VENDOR_TIMEOUT


async def test_an_exhausted_budget_says_which_and_what_would_fit(on: Road, vendor: RawVendor) -> None:
    tight = entities_pb2.Budget(
        subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
        unit=error_pb2.BUDGET_UNIT_MONEY,
        limit=40_000,
        display_name="tight",
    )
    await make_budget(on, tight)
    with pytest.raises(RemoteError) as raised:
        await on.generate(cap=4000)
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    failure = raised.value.detail(error_pb2.BudgetFailure)
    assert failure is not None
    assert failure.shortfalls[0].display_name == "tight"
    routing = raised.value.detail(error_pb2.RoutingFailure)
    assert routing is not None
    assert {item.rule for item in routing.excluded} == {"budget.headroom"}
    assert routing.max_output_tokens_fitting > 0
    assert vendor.requests == []
    assert await on.kinds() == []

    lowered = await on.generate(cap=4000, routing={"lower_output_cap": True})
    assert lowered.outcome.max_output_tokens == routing.max_output_tokens_fitting


async def test_a_tight_budget_moves_to_the_cheaper_model(on: Road) -> None:
    tight = entities_pb2.Budget(
        subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
        unit=error_pb2.BUDGET_UNIT_MONEY,
        limit=400_000,
        display_name="tight",
    )
    await make_budget(on, tight)
    await put_policy(on, "strategy: capability")
    response = await on.generate()
    assert response.outcome.model == "local/cheap"
    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=response.outcome.decision_id),
        timeout_s=5,
    )
    assert found.decision.replans == 1


async def test_a_budget_that_runs_short_moves_to_cheaper_models_before_it_refuses(
    postgres_dsn: str, tmp_path: Path, vendor: RawVendor
) -> None:
    models = {
        "cheap": Vendor(vendor.base_url, quality=0.6, **CHEAP),
        "good": Vendor(vendor.base_url, quality=0.9, input_rate=2 * 10**9, output_rate=8 * 10**9),
    }
    async with road(postgres_dsn, tmp_path, models) as on:
        await put_policy(on, "strategy: balanced")
        # One answer of the good model costs 26,000 nano-USD and holds about 1.1 million.
        await make_budget(
            on,
            entities_pb2.Budget(
                subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
                unit=error_pb2.BUDGET_UNIT_MONEY,
                limit=1_500_000,
                display_name="pace",
            ),
        )
        chosen = [(await on.generate(routing={"task": "chat"})).outcome.model for _ in range(40)]
    assert chosen[0] == "local/good"
    assert chosen[-1] == "local/cheap"
    assert chosen[chosen.index("local/cheap") :].count("local/good") <= 3


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model": "local/nobody"}, "MODEL_NOT_FOUND"),
        ({"model": "nobody"}, "MODEL_NOT_FOUND"),
        ({"request_id": "not ok"}, "INVALID_REQUEST"),
        ({"cap": 0}, "INVALID_REQUEST"),
        ({"routing": {"quality_min": 0.99}}, "NO_CANDIDATE"),
        ({"routing": {"regions": ["eu"]}}, "NO_CANDIDATE"),
        ({"cap": 100_000}, "NO_CANDIDATE"),
    ],
)
async def test_refusals_are_typed(on: Road, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(RemoteError) as raised:
        await on.generate(**more)
    assert raised.value.reason == reason
    assert await on.kinds() == []


async def test_an_empty_conversation_names_the_field(on: Road) -> None:
    with pytest.raises(RemoteError) as raised:
        await on.router.unary(on.stub.Generate, router_pb2.GenerateRequest(), timeout_s=5)
    assert [violation.field for violation in raised.value.violations] == ["input.messages"]


async def test_a_conversation_of_too_many_messages_or_parts_names_the_field(on: Road) -> None:
    said = request()
    for messages, parts in ((MESSAGES_MAX + 1, 1), (2, PARTS_MAX // 2 + 1)):
        [one] = said.input.messages[:1]
        message = content_pb2.Message(role=one.role, parts=[one.parts[0]] * parts)
        asked = request()
        del asked.input.messages[:]
        asked.input.messages.extend([message] * messages)
        with pytest.raises(RemoteError) as raised:
            await on.router.unary(on.stub.Generate, asked, timeout_s=30)
        assert [violation.field for violation in raised.value.violations] == ["input.messages"]


async def test_keys_are_checked(on: Road) -> None:
    for token, reason in ((None, "CREDENTIALS_MISSING"), ("tpk_" + "x" * 43, "CREDENTIALS_INVALID")):
        async with connect("router", on.address, token=token) as stranger:
            stub = router_pb2_grpc.RouterServiceStub(stranger.channel)
            with pytest.raises(RemoteError) as raised:
                await stranger.unary(stub.Generate, request(), timeout_s=5)
            assert raised.value.reason == reason


async def test_a_revoked_key_stops_within_a_second(on: Road) -> None:
    await on.generate()
    await on.operator.RevokeKey(
        budget_admin_pb2.RevokeKeyRequest(request_id=new_id(), key_id=on.tenant.key.key_id)
    )

    async def refused() -> str | None:
        try:
            await on.generate()
        except RemoteError as error:
            return error.reason
        return None

    assert await until(refused, within_s=2.0) in (
        "PRINCIPAL_DISABLED",
        "CREDENTIALS_REVOKED",
        "CREDENTIALS_INVALID",
    )


async def test_a_preview_explains_and_calls_nobody(on: Road, vendor: RawVendor) -> None:
    asked = router_pb2.PreviewRouteRequest(request=request(routing={"quality_min": 0.61}))
    preview = await on.router.unary(on.stub.PreviewRoute, asked, timeout_s=5)
    decision = preview.decision
    assert list(decision.plan) == ["local/dear"]
    assert decision.candidates[-1].excluded_by == "quality.floor"
    assert "0.6" in decision.candidates[-1].excluded_reason
    assert decision.features.text_bytes == 5
    assert vendor.requests == []
    assert await on.kinds() == []


async def test_a_long_conversation_goes_where_it_fits(postgres_dsn: str, tmp_path: Path) -> None:
    async with raw_vendor(speak) as small, raw_vendor(speak) as large:
        models = {
            "small": Vendor(small.base_url, context=2048, **CHEAP),
            "large": Vendor(large.base_url, context=64_000),
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            response = await on.generate("word " * 3000)
            assert response.outcome.model == "local/large"
            assert small.requests == []
            assert response.choices[0].finish_reason == content_pb2.FINISH_REASON_STOP
