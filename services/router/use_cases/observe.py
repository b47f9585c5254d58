"""Watches how attempts fare and publishes it once a second, as an immutable snapshot that decisions are made from.

Replicas share: their measurements add up, and a breaker that one has opened is open for all; each probes for itself.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from services.kernel.clock import Clock
from services.router.domain.breaker import Breaker
from services.router.domain.catalogue import Health
from services.router.domain.conditions import BreakerState, Condition, Conditions
from services.router.domain.statistics import Sums
from services.router.records import AttemptRecord

PUBLISH_EVERY_S = 1.0

PROBED_S = 0.2
"""While an endpoint is being probed it is worth looking again this soon."""

TURNED_AWAY_S = 0.5
"""How long an endpoint is left alone whose replica of the providers service knew that it rests, and we did not."""

WORTH_TELLING = 0.05
"""Endpoints of which less than so many attempts are remembered are not worth telling others of."""

ENDPOINTS_MAX = 10_000
"""Endpoints that are remembered; a catalogue that forgets and renames must not fill the memory."""

# Whose fault a failure is: these say that the endpoint fares badly. Others are the request's or our own.
ENDPOINTS_FAULT = frozenset(
    {
        "VENDOR_OVERLOADED",
        "VENDOR_ERROR",
        "VENDOR_UNREACHABLE",
        "VENDOR_TIMEOUT",
        "VENDOR_PROTOCOL_ERROR",
        "VENDOR_STREAM_TRUNCATED",
        "VENDOR_AUTHENTICATION_FAILED",
        "VENDOR_QUOTA_EXHAUSTED",
        "VENDOR_MODEL_NOT_FOUND",
        "CREDENTIAL_MISSING",
        "VENDOR_RATE_LIMITED",
    }
)


TURNED_AWAY = "ENDPOINT_RESTING"
"""Nothing was sent: the providers service knows that the endpoint rests."""


class Part(NamedTuple):
    """What a replica tells others of one endpoint: its sums as of now, and its breaker if that is open."""

    attempts: float
    failures: float
    firsts: float
    ttft_s: float
    ttft_s_squared: float
    tokens: float
    seconds: float
    open_for_s: float
    """Below 0: it is not open."""
    rest_s: float


class SharedConditions(Protocol):
    """Where replicas tell each other. Never raises: without it each goes on alone."""

    async def exchange(self, mine: Mapping[str, Part]) -> Sequence[Mapping[str, Part]]:
        """Tells what is known here, by endpoint; returns what every other replica told of late."""
        ...


@dataclass(slots=True)
class _Endpoint:
    health: Health = Health.UNKNOWN
    finding: str = ""
    retry_at_s: float | None = None
    breaker: Breaker = field(default_factory=Breaker)
    sums: Sums = field(default_factory=Sums)
    others: Sums | None = None
    """What all other replicas measured."""
    rests_until_s: float = 0.0
    """By our own clock: until then it takes no calls, as we were told when we made one."""


class Observer:
    """The `Observations` port."""

    def __init__(self, clock: Clock, take: Callable[[Conditions], None], shared: SharedConditions) -> None:
        """`take` gets the snapshot, once a second and whenever a breaker moves."""
        self._clock = clock
        self._take = take
        self._shared = shared
        self._endpoints: dict[str, _Endpoint] = {}

    def begun(self, endpoint_id: str) -> bool:
        """An attempt is about to begin. False: its breaker lets nothing pass at this moment."""
        endpoint = self._endpoint(endpoint_id)
        now_s = self._clock.monotonic_s()
        breaker = endpoint.breaker.at(now_s)
        admitted = breaker.admits and now_s >= endpoint.rests_until_s
        endpoint.breaker = breaker.begun(now_s) if admitted else breaker
        return admitted

    def probing(self, endpoint_id: str) -> bool:
        """True if the endpoint is being tried after failures, one request at a time."""
        state = self._endpoint(endpoint_id).breaker.at(self._clock.monotonic_s()).state
        return state is BreakerState.HALF_OPEN

    def rest_s(self, endpoint_id: str) -> float:
        """Seconds until it makes sense to try the endpoint; 0: now."""
        endpoint = self._endpoint(endpoint_id)
        now_s = self._clock.monotonic_s()
        breaker = endpoint.breaker.at(now_s)
        rest_s = endpoint.rests_until_s - now_s
        if breaker.state is BreakerState.OPEN:
            rest_s = max(rest_s, breaker.opened_at_s + breaker.rest_s - now_s)
        elif not breaker.admits:
            rest_s = max(rest_s, PROBED_S)
        if endpoint.health in (Health.DOWN, Health.RESTING) and endpoint.retry_at_s is not None:
            rest_s = max(rest_s, endpoint.retry_at_s - self._clock.now().timestamp())
        return max(0.0, rest_s)

    def abandoned(self, endpoint_id: str) -> None:
        """An attempt tells nothing of how the endpoint fares; if it was a probe, another may be made."""
        endpoint = self._endpoint(endpoint_id)
        endpoint.breaker = endpoint.breaker.abandoned()

    def succeeded(self, attempt: AttemptRecord) -> None:
        endpoint = self._endpoint(attempt.endpoint_id)
        now_s = self._clock.monotonic_s()
        tokens = attempt.usage.output_tokens if attempt.usage is not None else None
        seconds = None
        if attempt.duration_s is not None and attempt.ttft_s is not None:
            seconds = attempt.duration_s - attempt.ttft_s
        endpoint.sums.add(now_s, failed=False, ttft_s=attempt.ttft_s, tokens=tokens, seconds=seconds)
        self._move(endpoint, endpoint.breaker.at(now_s).succeeded())

    def failed(self, attempt: AttemptRecord) -> None:
        endpoint = self._endpoint(attempt.endpoint_id)
        now_s = self._clock.monotonic_s()
        if attempt.failure == TURNED_AWAY:
            endpoint.rests_until_s = now_s + TURNED_AWAY_S
        if attempt.failure not in ENDPOINTS_FAULT:
            endpoint.breaker = endpoint.breaker.abandoned()
            return
        endpoint.sums.add(now_s, failed=True, ttft_s=None, tokens=None, seconds=None)
        sums = endpoint.sums
        breaker = endpoint.breaker.at(now_s).failed(
            now_s, failure_rate=sums.failure_rate, samples=sums.attempts
        )
        self._move(endpoint, breaker)

    def take_health(self, endpoint_id: str, health: Health, finding: str, retry_at_s: float | None) -> None:
        """The providers service says how an endpoint is."""
        endpoint = self._endpoint(endpoint_id)
        changed = endpoint.health is not health
        if health is Health.DOWN and endpoint.breaker.state is BreakerState.CLOSED:
            endpoint.breaker = Breaker(BreakerState.HALF_OPEN)  # when its rest is over, one tries, not all
        endpoint.health, endpoint.finding, endpoint.retry_at_s = health, finding, retry_at_s
        if changed:
            self.publish()

    def publish(self) -> None:
        """Makes what is known now the snapshot that decisions are made from."""
        now_s = self._clock.monotonic_s()
        conditions: dict[str, Condition] = {}
        for endpoint_id, endpoint in self._endpoints.items():
            endpoint.breaker = endpoint.breaker.at(now_s)
            endpoint.sums.decay(now_s)
            sums = endpoint.sums
            if endpoint.others is not None:
                sums = sums.merged(endpoint.others, now_s)
            conditions[endpoint_id] = Condition(
                endpoint.health,
                endpoint.finding,
                endpoint.retry_at_s,
                endpoint.breaker.state,
                sums.speed(),
            )
        version = int(self._clock.now().timestamp() * 1000)
        self._take(Conditions(version, conditions))

    async def run(self) -> None:
        """Publishes for ever, until it is cancelled."""
        while True:
            self.take_others(await self._shared.exchange(self.told()))
            self.publish()
            await asyncio.sleep(PUBLISH_EVERY_S)

    def told(self) -> Mapping[str, Part]:
        """What other replicas should know."""
        now_s = self._clock.monotonic_s()
        parts: dict[str, Part] = {}
        for endpoint_id, endpoint in self._endpoints.items():
            sums, breaker = endpoint.sums, endpoint.breaker.at(now_s)
            sums.decay(now_s)
            is_open = breaker.state is BreakerState.OPEN
            if sums.attempts < WORTH_TELLING and not is_open:
                continue
            parts[endpoint_id] = Part(
                sums.attempts,
                sums.failures,
                sums.firsts,
                sums.ttft_s,
                sums.ttft_s_squared,
                sums.tokens,
                sums.seconds,
                now_s - breaker.opened_at_s if is_open else -1.0,
                breaker.rest_s,
            )
        return parts

    def take_others(self, replicas: Sequence[Mapping[str, Part]]) -> None:
        """Other replicas' measurements are added to ours; what they found broken is left alone here, too."""
        now_s = self._clock.monotonic_s()
        for endpoint in self._endpoints.values():
            endpoint.others = None
        for parts in replicas:
            for endpoint_id, part in parts.items():
                endpoint = self._endpoint(endpoint_id)
                theirs = Sums(now_s, *part[:7])
                endpoint.others = theirs if endpoint.others is None else endpoint.others.merged(theirs, now_s)
                mine = endpoint.breaker.at(now_s)
                # Only a breaker that is closed follows: one that probes finds out for itself.
                if (
                    part.open_for_s >= 0
                    and mine.state is BreakerState.CLOSED
                    and part.open_for_s < part.rest_s
                ):
                    endpoint.breaker = Breaker(
                        BreakerState.OPEN, opened_at_s=now_s - part.open_for_s, rest_s=part.rest_s
                    )

    def forget_all_but(self, endpoint_ids: Iterable[str]) -> None:
        """Endpoints that the catalogue has no longer are forgotten."""
        kept = set(endpoint_ids)
        for endpoint_id in [known for known in self._endpoints if known not in kept]:
            del self._endpoints[endpoint_id]

    def _move(self, endpoint: _Endpoint, breaker: Breaker) -> None:
        moved = endpoint.breaker.state is not breaker.state
        endpoint.breaker = breaker
        if moved:
            self.publish()

    def _endpoint(self, endpoint_id: str) -> _Endpoint:
        found = self._endpoints.get(endpoint_id)
        if found is None:
            if len(self._endpoints) >= ENDPOINTS_MAX:
                self._endpoints.pop(next(iter(self._endpoints)))
            found = self._endpoints[endpoint_id] = _Endpoint()
        return found
