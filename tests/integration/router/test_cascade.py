"""Cascades: a cheap answer is checked before anybody sees it; both calls are held and booked; the gain is stated."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from services.chassis.status import RemoteError
from services.router.use_cases.observe import Observer
from tests.support.governing import decision_of, put_grant, put_policy
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import CALL_S, Road, Vendor, make_budget, request, road
from tests.support.vendors import cut, failing, saying
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import router_pb2

AGREEMENT = "strategy: capability\ncascade: {check: agreement, streams: true}"
BY_SCHEMA = "strategy: capability\ncascade: true"
SCHEMA = Struct()
SCHEMA.update({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


@pytest.fixture
async def cheap() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("42")) as running:
        yield running


@pytest.fixture
async def second() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("It is 42.")) as running:
        yield running


@pytest.fixture
async def strong() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("Certainly 42")) as running:
        yield running


@pytest.fixture
async def on(
    postgres_dsn: str, tmp_path: Path, cheap: RawVendor, second: RawVendor, strong: RawVendor
) -> AsyncIterator[Road]:
    """Two cheap models that are good at what is asked, and a strong one at fifty times their price."""
    can = ("json_schema", "json_object")
    models = {
        "cheap": Vendor(cheap.base_url, quality=0.84, input_rate=10**8, output_rate=4 * 10**8, can=can),
        "second": Vendor(second.base_url, quality=0.83, input_rate=2 * 10**8, output_rate=8 * 10**8, can=can),
        "strong": Vendor(
            strong.base_url, quality=0.85, input_rate=5 * 10**9, output_rate=2 * 10**10, can=can
        ),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


async def ask_json(on: Road, **more: Any) -> router_pb2.GenerateResponse:
    asked = request("How much?", **more)
    asked.input.output_format.json_schema.schema.CopyFrom(SCHEMA)
    asked.input.output_format.json_schema.name = "amount"
    return await on.router.unary(on.stub.Generate, asked, timeout_s=CALL_S)


def told(outcome: router_pb2.Outcome) -> list[tuple[str, str, str]]:
    return [(attempt.model, attempt.purpose, attempt.verdict) for attempt in outcome.attempts]


async def test_two_cheap_models_that_agree_spare_the_strong_one(on: Road, strong: RawVendor) -> None:
    await put_policy(on, AGREEMENT)
    response = await on.generate("What is 6 times 7?")
    assert told(response.outcome) == [
        ("local/cheap", "cascade", "another must agree"),
        ("local/second", "cascade", "accepted"),
    ]
    assert response.choices[0].message.parts[0].text.text == "It is 42."
    assert strong.requests == []
    assert await on.settled(2) == ["HOLD 1", "COMMIT 1", "HOLD 2", "COMMIT 2"]
    found = await decision_of(on, response.outcome.decision_id, replay=True)
    assert found.identical
    cascade = found.decision.cascade
    assert (cascade.used, cascade.check) == (True, "agreement")
    assert (cascade.cheap_model, cascade.second_model) == ("local/cheap", "local/second")
    assert cascade.strong_model == "local/strong"
    assert 0 < cascade.cascade_cost.nanos < cascade.direct_cost.nanos
    assert cascade.cascade_quality > cascade.direct_quality - 0.01
    assert found.decision.cost.nanos == response.outcome.cost.nanos
    # The gain: what the strong model would have charged for the same usage, less what both cheap ones did.
    direct = (5 * 5 * 10**9 + 2 * 2 * 10**10) // 10**6
    assert response.outcome.cost.nanos * 10 < direct


async def test_two_that_do_not_agree_escalate_and_all_three_are_booked(on: Road, second: RawVendor) -> None:
    await put_policy(on, AGREEMENT)
    second.script = saying("41")
    response = await on.generate("What is 6 times 7?")
    assert told(response.outcome) == [
        ("local/cheap", "cascade", "another must agree"),
        ("local/second", "cascade", "the two do not agree"),
        ("local/strong", "escalation", ""),
    ]
    assert response.outcome.model == "local/strong"
    kinds = await on.settled(3)
    assert kinds == ["HOLD 1", "COMMIT 1", "HOLD 2", "COMMIT 2", "HOLD 3", "COMMIT 3"]
    commits = (await on.ledger())[1::2]
    assert [entry.dimensions["purpose"] for entry in commits] == ["cascade", "cascade", "escalation"]
    charged = [entry.amount.nanos for entry in commits]
    assert response.outcome.cost.nanos == sum(charged)
    assert charged[2] < sum(charged)  # the loss: what the two cheap calls cost beside the direct one


async def test_nobody_agrees_with_itself(
    on: Road, cheap: RawVendor, second: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second model steps in for the first, while both others are being probed by other requests."""
    probed = iter([False, False])
    begun = Observer.begun

    def being_probed(self: Observer, endpoint_id: str) -> bool:
        return next(probed, True) and begun(self, endpoint_id)

    await put_policy(on, AGREEMENT)
    monkeypatch.setattr(Observer, "begun", being_probed)
    response = await on.generate("What is 6 times 7?")
    assert [model for model, _, _ in told(response.outcome)] == ["local/second", "local/cheap"]
    assert (len(second.requests), len(cheap.requests)) == (1, 1)


async def test_an_answer_that_keeps_its_schema_is_given(
    on: Road, cheap: RawVendor, strong: RawVendor
) -> None:
    await put_policy(on, BY_SCHEMA)
    cheap.script = saying('{"n": 42}')
    response = await ask_json(on)
    assert told(response.outcome) == [("local/cheap", "cascade", "accepted")]
    assert strong.requests == []


async def test_an_answer_that_breaks_its_schema_is_never_seen(
    on: Road, cheap: RawVendor, strong: RawVendor
) -> None:
    await put_policy(on, BY_SCHEMA)
    cheap.script = saying('{"n": "secret words"}')
    strong.script = saying('{"n": 42}')
    response = await ask_json(on)
    assert told(response.outcome) == [
        ("local/cheap", "cascade", "it breaks `type` of its schema"),
        ("local/strong", "escalation", ""),
    ]
    assert "secret" not in str(response)
    found = await decision_of(on, response.outcome.decision_id)
    assert "secret" not in str(found)


async def test_a_streamed_answer_is_held_back_until_it_is_checked(on: Road, second: RawVendor) -> None:
    await put_policy(on, AGREEMENT)
    events = await on.stream("What is 6 times 7?")
    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], kinds.count("started"), kinds[-1]) == ("started", 1, "finished")
    assert events[0].started.model == "local/second"
    assert "".join(event.delta.text for event in events) == "It is 42. "
    second.script = saying("41 of course")
    events = await on.stream("What is 6 times 7?")
    assert "".join(event.delta.text for event in events) == "Certainly 42 "
    assert [event.started.model for event in events if event.HasField("started")] == ["local/strong"]


async def test_streams_are_not_held_back_unless_somebody_says_so(on: Road) -> None:
    await put_policy(on, "strategy: capability\ncascade: {check: agreement}")
    finished = (await on.stream("What is 6 times 7?"))[-1].finished
    assert told(finished) == [("local/strong", "first", "")]
    found = await decision_of(on, finished.decision_id)
    assert not found.decision.cascade.used
    assert "stream" in found.decision.cascade.reason
    finished = (await on.stream("What is 6 times 7?", routing={"cascade": True}))[-1].finished
    assert told(finished)[0] == ("local/cheap", "cascade", "another must agree")


REFUSED = {"error": {"message": "no such parameter", "type": "invalid_request_error"}}


@pytest.mark.parametrize("script", [failing(500), failing(400, REFUSED), cut])
async def test_a_cheap_model_that_fails_gives_way_to_the_strong_one(
    on: Road, cheap: RawVendor, script: Any
) -> None:
    await put_policy(on, AGREEMENT)
    cheap.script = script
    events = await on.stream("What is 6 times 7?")
    assert [event.started.model for event in events if event.HasField("started")] == ["local/strong"]
    purposes = [attempt.purpose for attempt in events[-1].finished.attempts]
    assert purposes == ["cascade", "escalation"]


@pytest.mark.parametrize(
    ("document", "model", "reason"),
    [
        (BY_SCHEMA, "local/strong", "JSON"),
        ("strategy: cost\ncascade: {check: agreement}", "local/cheap", "no cheaper"),
        (f"{AGREEMENT}\nattempts: {{max: 2}}", "local/strong", "3 attempts"),
    ],
)
async def test_what_gains_nothing_goes_the_direct_road_and_says_why(
    on: Road, document: str, model: str, reason: str
) -> None:
    await put_policy(on, document)
    response = await on.generate()
    assert told(response.outcome) == [(model, "first", "")]
    cascade = (await decision_of(on, response.outcome.decision_id)).decision.cascade
    assert not cascade.used
    assert reason in cascade.reason


async def test_a_cheap_model_that_is_not_granted_is_not_asked_first(on: Road, cheap: RawVendor) -> None:
    await put_policy(on, AGREEMENT)
    await put_grant(on, "local/cheap", deny=True)
    response = await on.generate("What is 6 times 7?")
    assert told(response.outcome) == [("local/strong", "first", "")]
    assert cheap.requests == []


async def test_a_budget_with_room_for_the_cheap_ones_alone_refuses_the_escalation(
    on: Road, second: RawVendor
) -> None:
    await put_policy(on, AGREEMENT)
    second.script = saying("41")
    tight = entities_pb2.Budget(
        subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
        unit=error_pb2.BUDGET_UNIT_MONEY,
        limit=2_000_000,
        model_scope=entities_pb2.ModelScope(model="local/strong"),
        display_name="tight",
    )
    await make_budget(on, tight)
    with pytest.raises(RemoteError) as raised:
        await on.generate("What is 6 times 7?")
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    assert await on.settled(2) == ["HOLD 1", "COMMIT 1", "HOLD 2", "COMMIT 2"]
