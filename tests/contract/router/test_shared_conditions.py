"""What replicas share: the same promises by Redis and, with nobody to share with, alone."""

from datetime import datetime

import pytest

from services.chassis.redis import open_redis
from services.kernel.clock import ManualClock
from services.router.adapters.shared_conditions import AloneConditions, RedisConditions
from services.router.domain.breaker import FAILURES_TO_OPEN
from services.router.domain.conditions import BreakerState, Conditions
from services.router.records import AttemptRecord
from services.router.use_cases.observe import Observer, Part, SharedConditions

PART = Part(4.0, 1.0, 3.0, 1.5, 0.9, 100.0, 2.0, -1.0, 2.0)


class Seen:
    def __init__(self) -> None:
        self.conditions = Conditions(0, {})

    def __call__(self, conditions: Conditions) -> None:
        self.conditions = conditions


def attempt(clock: ManualClock, failure: str = "") -> AttemptRecord:
    record = AttemptRecord(1, "a/b", "ep", "first", 1, datetime.now().astimezone(), clock.monotonic_s())
    record.failure = failure
    record.ttft_s, record.duration_s = 0.1, 0.2
    return record


async def test_alone_there_are_no_others() -> None:
    assert await AloneConditions().exchange({"ep": PART}) == ()


async def test_replicas_tell_each_other_and_not_themselves(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        one, other = RedisConditions(redis), RedisConditions(redis)
        assert await one.exchange({"ep": PART}) == ()
        assert list(await other.exchange({})) == [{"ep": PART}]
        assert list(await one.exchange({"ep": PART})) == [{}]


async def test_a_redis_that_is_away_is_no_error() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        assert await RedisConditions(redis).exchange({"ep": PART}) == ()


@pytest.mark.parametrize("shares", [True, False])
async def test_a_breaker_that_one_opens_is_open_for_all_that_share(redis_url: str, shares: bool) -> None:
    async with open_redis(redis_url) as redis:

        def shared() -> SharedConditions:
            return RedisConditions(redis) if shares else AloneConditions()

        clock, seen = ManualClock(), Seen()
        (one, one_shared), (other, other_shared) = [
            (Observer(clock, take, exchange), exchange)
            for take, exchange in ((Seen(), shared()), (seen, shared()))
        ]
        for _ in range(FAILURES_TO_OPEN):
            one.failed(attempt(clock, "VENDOR_ERROR"))
        one.take_others(await one_shared.exchange(one.told()))
        other.take_others(await other_shared.exchange(other.told()))
        other.publish()
        expected = BreakerState.OPEN if shares else BreakerState.CLOSED
        assert seen.conditions.of("ep").breaker is expected
        assert (seen.conditions.of("ep").speed.failure_rate > 0.5) is shares
        clock.advance(5.0)
        other.publish()
        assert seen.conditions.of("ep").breaker is not BreakerState.OPEN
