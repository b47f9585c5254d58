"""How often the witness speaks, and when it is silent."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from services.chassis.status import RemoteError
from services.kernel.errors import Category, OutcomeUnknown, ServiceUnavailable, TurnpikeError
from services.providers.domain.failure import Failure, Reason
from services.providers.use_cases import witness
from services.providers.use_cases.witness import TRIES_MAX, Witness
from turnpike.providers.v1 import providers_pb2

ATTEMPT = providers_pb2.Attempt(hold_lease="lease")
FAILURE = Failure(Reason.ERROR_REASON_VENDOR_TIMEOUT, "")


class Answering:
    """A budget service that refuses with each of `errors` in turn, and then settles."""

    def __init__(self, *errors: TurnpikeError) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def commit(self, attempt: providers_pb2.Attempt, failure: Failure) -> None:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)


def refused(reason: str) -> RemoteError:
    return RemoteError(Category.FAILED_PRECONDITION, reason, "budget", "refused", {})


async def spoken(settlements: Answering, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log says once the witness has done what it can, but for its steps."""
    monkeypatch.setattr(witness, "RETRY_S_MIN", 0.001)
    speaker = Witness(settlements)
    with capture_logs() as lines:
        speaker.speak(ATTEMPT, FAILURE)
        await speaker.close()
    return [line["event"] for line in lines if line["log_level"] != "debug"]


@pytest.mark.parametrize("reason", ["HOLD_ALREADY_SETTLED", "HOLD_NOT_FOUND"])
async def test_what_is_settled_already_ends_it_quietly(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settlements = Answering(*[refused(reason)] * TRIES_MAX)
    assert await spoken(settlements, monkeypatch) == []
    assert settlements.asked == 1


async def test_a_refusal_for_good_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settlements = Answering(*[refused("HOLD_NOT_YOURS")] * TRIES_MAX)
    assert await spoken(settlements, monkeypatch) == ["the witness was not heard"]
    assert settlements.asked == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: ServiceUnavailable("budget"),
        lambda: OutcomeUnknown("budget"),
        lambda: refused("STORE_UNAVAILABLE"),
        lambda: refused("NOT_OWNER"),
        lambda: refused("OVERLOADED"),
        lambda: refused("DEADLINE_EXCEEDED"),
    ],
)
async def test_what_is_for_now_is_asked_again(
    make: Callable[[], TurnpikeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    settlements = Answering(make(), make())
    assert await spoken(settlements, monkeypatch) == ["the witness settled an attempt"]
    assert settlements.asked == 3
    away = Answering(*[make() for _ in range(TRIES_MAX)])
    assert await spoken(away, monkeypatch) == ["the witness was not heard"]
    assert away.asked == TRIES_MAX


async def test_the_router_comes_first_unless_the_service_stops() -> None:
    settlements = Answering()
    speaker = Witness(settlements)
    speaker.speak(ATTEMPT, FAILURE, after_s=60.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert settlements.asked == 0
    await speaker.close()
    assert settlements.asked == 1
