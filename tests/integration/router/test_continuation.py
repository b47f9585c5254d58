"""Continuation after the first token: only where it is allowed, announced, under a hold of its own, both charged."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.status import RemoteError
from services.kernel.errors import ServiceUnavailable
from services.router.adapters.budget import RemoteHolds
from tests.support.governing import put_grant, put_policy
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, Vendor, make_budget, road
from tests.support.vendors import cut, failing, saying
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.router.v1 import router_pb2

ALLOWED = {"continue_on_other_model": True}


@pytest.fixture
async def first() -> AsyncIterator[RawVendor]:
    async with raw_vendor(cut) as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("and goodbye")) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, first: RawVendor, other: RawVendor) -> AsyncIterator[Road]:
    models = {
        "first": Vendor(first.base_url, quality=0.9, can=("json_object",)),
        "other": Vendor(other.base_url, quality=0.6, input_rate=2 * 10**9, can=("json_object",)),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


async def broken(on: Road, **more: Any) -> tuple[list[router_pb2.StreamGenerateResponse], RemoteError]:
    """The events of a stream that must break, and how it ended."""
    seen = []
    with pytest.raises(RemoteError) as raised:
        async for event in on.streaming(**more):
            seen.append(event)
    return seen, raised.value


async def test_another_model_goes_on_announced_and_both_are_charged(on: Road, other: RawVendor) -> None:
    events = await on.stream("Say hello", routing=ALLOWED)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:3] == ["started", "delta", "started"]
    assert [(event.started.model, event.started.continues) for event in (events[0], events[2])] == [
        ("local/first", False),
        ("local/other", True),
    ]
    assert "".join(event.delta.text for event in events) == "helloand goodbye "
    finished = events[-1].finished
    assert finished.continued
    assert [attempt.purpose for attempt in finished.attempts] == ["first", "continuation"]
    assert all(attempt.usage.output_tokens for attempt in finished.attempts)
    assert all(attempt.cost.nanos for attempt in finished.attempts)
    assert finished.cost.nanos == sum(attempt.cost.nanos for attempt in finished.attempts)
    assert await on.settled(2) == ["HOLD 1", "COMMIT 1", "HOLD 2", "COMMIT 2"]
    (sent,) = [json.loads(request.body) for request in other.requests]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"] == "hello"
    caps = [json.loads(request.body) for request in other.requests]
    assert (
        caps[0].get("max_tokens", caps[0].get("max_completion_tokens")) < 64
    )  # what was said is taken off the cap


async def test_a_policy_may_allow_it(on: Road) -> None:
    await put_policy(on, "attempts: {continue_on_other_model: true}")
    assert (await on.stream())[-1].finished.continued


async def test_nobody_goes_on_unasked(on: Road, other: RawVendor) -> None:
    seen, error = await broken(on)
    assert error.reason == "STREAM_INTERRUPTED"
    assert [event.WhichOneof("event") for event in seen] == ["started", "delta"]
    assert other.requests == []


async def test_no_model_that_is_not_granted_goes_on(on: Road, other: RawVendor) -> None:
    await put_grant(on, "local/other", deny=True)
    _, error = await broken(on, routing=ALLOWED)
    assert error.reason == "STREAM_INTERRUPTED"
    assert other.requests == []


async def test_if_the_second_fails_too_the_stream_ends_broken_and_never_begins_anew(
    on: Road, other: RawVendor
) -> None:
    other.script = failing(500)
    seen, error = await broken(on, routing=ALLOWED)
    assert error.reason == "STREAM_INTERRUPTED"
    failures = error.detail(error_pb2.AttemptFailures)
    assert failures is not None
    assert [failure.model for failure in failures.attempts] == ["local/first", "local/other"]
    assert [event.WhichOneof("event") for event in seen] == ["started", "delta"]
    assert await on.settled(2) == ["HOLD 1", "COMMIT 1", "HOLD 2", "RELEASE 2"]


async def test_a_budget_without_room_for_it_ends_the_stream_broken(on: Road, other: RawVendor) -> None:
    tight = entities_pb2.Budget(
        subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
        unit=error_pb2.BUDGET_UNIT_MONEY,
        limit=1000,
        model_scope=entities_pb2.ModelScope(model="local/other"),
        display_name="tight",
    )
    await make_budget(on, tight)
    _, error = await broken(on, routing=ALLOWED)
    assert error.reason == "STREAM_INTERRUPTED"
    assert other.requests == []
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


async def test_without_the_budget_service_the_stream_ends_broken(
    on: Road, other: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*given: Any) -> Any:
        raise ServiceUnavailable("budget")

    monkeypatch.setattr(RemoteHolds, "settle_and_hold", away)
    seen, error = await broken(on, routing=ALLOWED)
    failures = error.detail(error_pb2.AttemptFailures)
    assert failures is not None
    assert failures.attempts[0].cost.nanos > 0  # it could be settled by itself
    assert error.reason == "STREAM_INTERRUPTED"
    assert [event.WhichOneof("event") for event in seen] == ["started", "delta"]
    assert other.requests == []
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


async def test_half_a_json_is_not_continued(on: Road, other: RawVendor) -> None:
    asked = router_pb2.StreamGenerateRequest()
    message = content_pb2.Message(
        role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=content_pb2.TextPart(text="JSON, please"))]
    )
    asked.request.input.messages.append(message)
    asked.request.input.output_format.json_object.SetInParent()
    asked.request.routing.continue_on_other_model = True
    with pytest.raises(RemoteError) as raised:
        async with on.router.stream(on.stub.StreamGenerate, asked, timeout_s=10) as events:
            async for _ in events:
                pass
    assert raised.value.reason == "STREAM_INTERRUPTED"
    assert other.requests == []
