"""A budget service that answers that it does not know whether it has done what it was asked."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.batch_client import BatchClient
from services.chassis.status import RemoteError
from tests.support.conditions import until
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, road
from tests.support.vendors import failing, speak
from turnpike.budget.v1 import budget_pb2
from turnpike.common.v1 import error_pb2

UNTOLD = [error_pb2.ERROR_REASON_OUTCOME_UNKNOWN, error_pb2.ERROR_REASON_INTERNAL]


class Doubts:
    """Operations of these kinds are answered with `reason`; what they asked for is done all the same, or is not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reason = UNTOLD[0]
        self.left: dict[str, int] = {}
        """How many more operations of a kind are answered so."""
        self.done = True
        self._call = BatchClient.call
        doubts = self

        async def call(
            client: object, operation: object, *, timeout_s: float, name: str = ""
        ) -> budget_pb2.ApplyResult:
            return await doubts.answer(client, operation, timeout_s, name)

        monkeypatch.setattr(BatchClient, "call", call)

    async def answer(
        self, client: object, operation: object, timeout_s: float, name: str
    ) -> budget_pb2.ApplyResult:
        """The budget service's answer, or the doubt."""
        assert isinstance(operation, budget_pb2.ApplyOperation)
        kind = operation.WhichOneof("operation") or ""
        doubtful = self.left.get(kind, 0) > 0
        if doubtful:
            self.left[kind] -= 1
        if self.done or not doubtful:
            answer = await self._call(client, operation, timeout_s=timeout_s, name=name)  # type: ignore[arg-type, var-annotated]
        return budget_pb2.ApplyResult(refusal=budget_pb2.Refusal(reason=self.reason)) if doubtful else answer


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> Doubts:
    return Doubts(monkeypatch)


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with road(postgres_dsn, tmp_path, {"only": vendor.base_url}) as running:
        yield running


@pytest.mark.parametrize("reason", UNTOLD, ids=["unknown", "internal"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
async def test_holds_and_settlements_are_asked_for_again(
    on: Road, doubts: Doubts, reason: error_pb2.ErrorReason.ValueType, done: bool
) -> None:
    doubts.reason, doubts.done, doubts.left = reason, done, {"hold": 1, "commit": 2}
    assert (await on.generate()).outcome.model == "local/only"
    await until(lambda: _told(doubts))
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]


async def test_a_hold_that_stays_in_doubt_is_freed(on: Road, doubts: Doubts, vendor: RawVendor) -> None:
    doubts.left = {"hold": 3, "release": 2}
    with pytest.raises(RemoteError) as raised:
        await on.generate()
    assert raised.value.reason == "OUTCOME_UNKNOWN"
    assert await on.settled() == ["HOLD 1", "RELEASE 1"]
    assert not vendor.requests


async def test_a_settlement_and_a_hold_in_one_are_asked_for_again(
    on: Road, doubts: Doubts, vendor: RawVendor
) -> None:
    scripts = itertools.chain([failing(500)], itertools.repeat(speak))

    async def once_broken(request: object, connection: object) -> None:
        await next(scripts)(request, connection)  # type: ignore[arg-type]

    vendor.script = once_broken
    doubts.left = {"commit_and_hold": 2}
    assert (await on.generate()).outcome.model == "local/only"
    assert doubts.left == {"commit_and_hold": 0}
    assert sorted(await on.settled(2)) == ["COMMIT 2", "HOLD 1", "HOLD 2", "RELEASE 1"]


async def _told(doubts: Doubts) -> bool:
    return not any(doubts.left.values())
