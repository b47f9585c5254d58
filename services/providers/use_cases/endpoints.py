"""The endpoints of this deployment with what is learnt about them, and the choice among them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.clock import Clock
from services.providers.domain.endpoint import EndpointSpec
from services.providers.domain.failure import AttemptError, ChargeRule, Failure, Reason
from services.providers.domain.health import EndpointTracker
from services.providers.domain.rate_limits import RateLimits
from turnpike.providers.v1 import providers_pb2

HEARTBEAT_S: Final = 1.0
"""A watcher hears at least this often, so that it notices when it hears nothing."""

LOOK_EVERY_S: Final = 0.5
LOOKS_AT_ONCE_MAX: Final = 8
"""Looking takes up to two seconds each; those that are left have their turn in the next round."""

EndpointHealth = providers_pb2.EndpointHealth


class EndpointBook:
    """Endpoints by id and by model. What is learnt of an endpoint survives a change of its configuration."""

    def __init__(self, clock: Clock, choose: random.Random | None = None) -> None:
        self._clock = clock
        self._random = choose or random.Random()  # noqa: S311 - spreads load; nobody gains by guessing it
        self._specs: dict[str, EndpointSpec] = {}
        self._by_model: dict[str, list[EndpointSpec]] = {}
        self._trackers: dict[str, EndpointTracker] = {}
        self._watchers: set[asyncio.Event] = set()

    def replace(self, specs: Iterable[EndpointSpec]) -> None:
        """Makes `specs` the endpoints of this deployment; attempts under way at others end as they would have."""
        self._specs = {spec.endpoint_id: spec for spec in specs}
        self._by_model = {}
        for spec in self._specs.values():
            self._by_model.setdefault(spec.model, []).append(spec)
        self._trackers = {
            endpoint_id: self._trackers.get(endpoint_id) or EndpointTracker() for endpoint_id in self._specs
        }
        self._wake()

    def all(self) -> list[EndpointSpec]:
        """Every endpoint."""
        return list(self._specs.values())

    def of_model(self, model: str) -> list[EndpointSpec]:
        """The endpoints of a model that are not turned off."""
        return [spec for spec in self._by_model.get(model, ()) if not spec.disabled]

    def get(self, endpoint_id: str) -> EndpointSpec | None:
        """The endpoint of this id."""
        return self._specs.get(endpoint_id)

    def choose(self, model: str, endpoint_id: str) -> EndpointSpec:
        """The named endpoint, or any usable one of the model by weight, those that work well first.

        Raises AttemptError: MODEL_NOT_FOUND if there is none, ENDPOINT_RESTING if none may be called now.
        """
        if endpoint_id:
            named = self._specs.get(endpoint_id)
            if named is None or named.model != model:
                raise _not_found(f"There is no endpoint {endpoint_id} of {model}.")
            candidates = [named]
        else:
            candidates = self.of_model(model)
            if not candidates:
                raise _not_found(f"No endpoint of {model} is set up in this deployment.")
        now = self._clock.monotonic_s()
        if len(candidates) == 1 and self._may_call(candidates[0], now):
            return candidates[0]
        usable = [spec for spec in candidates if self._may_call(spec, now)]
        if not usable:
            raise AttemptError(self._resting(candidates, now))
        healthy = [
            spec
            for spec in usable
            if self._trackers[spec.endpoint_id].state(now) == providers_pb2.ENDPOINT_STATE_HEALTHY
        ]
        among = healthy or usable
        if len(among) == 1:
            return among[0]
        return self._random.choices(among, weights=[max(spec.weight, 1e-9) for spec in among])[0]

    def _may_call(self, spec: EndpointSpec, now: float) -> bool:
        tracker = self._trackers[spec.endpoint_id]
        return not spec.disabled and tracker.in_flight < spec.concurrency_max and tracker.may_call(now)

    def _resting(self, candidates: list[EndpointSpec], now: float) -> Failure:
        waits = [self._trackers[spec.endpoint_id].retry_in_s(now) for spec in candidates]
        known = [wait for wait in waits if wait is not None]
        messages = [self._trackers[spec.endpoint_id].message for spec in candidates]
        because = next(filter(None, messages), "it has as many calls in flight as it may have")
        return Failure(
            Reason.ERROR_REASON_ENDPOINT_RESTING,
            f"No endpoint of {candidates[0].model} takes calls now: {because}",
            retry_after_s=min(known) if known else None,
            charge=ChargeRule.CHARGE_RULE_NOTHING,
            nothing_sent=True,
        )

    def call(self, spec: EndpointSpec) -> "_CallUnderWay":
        """A call under way at `spec`. The block is given a function for the outcome, to be told within it."""
        return _CallUnderWay(self._trackers[spec.endpoint_id], self._clock, self._wake)

    async def look_after(self, reachable: Callable[[str], Awaitable[bool]]) -> None:
        """Looks at endpoints that nobody could reach, when their rest is over, until cancelled.

        So a server that was restarted is found again without costing a caller an attempt.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._clock.monotonic_s()
            wanted = [
                spec for spec in self._specs.values() if self._trackers[spec.endpoint_id].wants_look(now)
            ]
            for spec in wanted[:LOOKS_AT_ONCE_MAX]:
                answered = await reachable(spec.base_url)
                tracker = self._trackers.get(spec.endpoint_id)
                if tracker is not None:
                    tracker.looked(self._clock.monotonic_s(), reachable=answered)
                    self._wake()

    def observe(self, spec: EndpointSpec, limits: RateLimits) -> None:
        """Takes a response's rate-limit headers into account."""
        tracker = self._trackers.get(spec.endpoint_id)
        if tracker is not None:
            now = self._clock.monotonic_s()
            before = tracker.state(now)
            tracker.observe(now, limits)
            if tracker.state(now) != before:
                self._wake()

    def health(self, spec: EndpointSpec) -> EndpointHealth:
        """The state of one endpoint now."""
        tracker = self._trackers[spec.endpoint_id]
        now = self._clock.monotonic_s()
        state = EndpointHealth(
            endpoint_id=spec.endpoint_id,
            model=spec.model,
            state=tracker.state(now),
            message=tracker.message,
            in_flight=tracker.in_flight,
            failure_permille=round(tracker.failure_share * 1000),
        )
        wait = tracker.retry_in_s(now)
        if wait is not None:
            moment = self._clock.now().timestamp() + wait
            state.retry_at.CopyFrom(Timestamp(seconds=int(moment), nanos=int(moment % 1 * 1e9)))
        if tracker.limits is not None:
            if tracker.limits.requests_left is not None:
                state.requests_left = tracker.limits.requests_left
            if tracker.limits.tokens_left is not None:
                state.tokens_left = tracker.limits.tokens_left
        return state

    async def watch(self, stopping: asyncio.Event) -> AsyncIterator[providers_pb2.WatchHealthResponse]:
        """The state of all endpoints, then what changed, at once; an empty message each second without change."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        seen: dict[str, EndpointHealth] = {}
        try:
            while not stopping.is_set():
                changed.clear()
                news = []
                for spec in self._specs.values():
                    state = self.health(spec)
                    if seen.get(spec.endpoint_id) != state:
                        seen[spec.endpoint_id] = state
                        news.append(state)
                observed_at = Timestamp()
                observed_at.FromDatetime(self._clock.now())
                yield providers_pb2.WatchHealthResponse(endpoints=news, observed_at=observed_at)
                await _wait(changed, stopping, HEARTBEAT_S)
        finally:
            self._watchers.discard(changed)

    def _wake(self) -> None:
        for event in self._watchers:
            event.set()


class _CallUnderWay:
    """Counts a call while its block runs, and takes its outcome into account. It runs for every attempt."""

    __slots__ = ("_before", "_clock", "_outcome", "_told", "_tracker", "_wake")

    def __init__(self, tracker: EndpointTracker, clock: Clock, wake: Callable[[], None]) -> None:
        self._tracker = tracker
        self._clock = clock
        self._wake = wake
        self._told = False
        self._outcome: Failure | None = None

    def __enter__(self) -> Callable[[Failure | None], None]:
        now = self._clock.monotonic_s()
        self._before = self._tracker.state(now)
        self._tracker.begin(now)
        return self._tell

    def _tell(self, failure: Failure | None) -> None:
        self._told, self._outcome = True, failure

    def __exit__(self, *_: object) -> None:
        tracker, now = self._tracker, self._clock.monotonic_s()
        if self._told:
            tracker.end(now, self._outcome)
        else:
            tracker.abandon()
        if tracker.state(now) != self._before:
            self._wake()


async def _wait(changed: asyncio.Event, stopping: asyncio.Event, at_most_s: float) -> None:
    waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(waits, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _not_found(message: str) -> AttemptError:
    return AttemptError(
        Failure(
            Reason.ERROR_REASON_MODEL_NOT_FOUND,
            message,
            charge=ChargeRule.CHARGE_RULE_NOTHING,
            nothing_sent=True,
        )
    )
