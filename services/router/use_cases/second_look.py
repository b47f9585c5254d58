"""When nobody is left whom a request could be sent to now: looks again until somebody is, as long as that makes sense.

A request need not fail because every model that may take it happens to rest, or was unlucky once: what rests is tried
again within seconds, and the caller has said how long he waits. It never restarts the cycle: nobody is asked more than
TRIES_MAX times, a repetition draws on the budget of retries, the attempts stay within their bound, and breakers let one
request at a time find out whether an endpoint is back.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from services.router.domain.constraints import Rule
from services.router.domain.draws import unit
from services.router.domain.fallback import ATTEMPT_S_MIN, PAUSE_S_FIRST, Next
from services.router.domain.plan import Decision, Planned
from services.router.records import DecisionRecord

if TYPE_CHECKING:
    from services.router.use_cases.asking import Tools

LOOK_EVERY_S = 0.1

WAIT_S_MAX = 10.0
"""Longest wait for somebody to be back, however far the deadline: longer than breakers rest, so that whoever is back is
found, and short enough that an outage of everybody is told rather than sat out."""

TRIES_MAX = 2
"""Calls of one endpoint for one request, where others asked it to be patient."""

NOTHING_SENT = "ENDPOINT_RESTING"
"""An attempt that failed so was turned away before anything was sent: it is none."""

TRANSIENT = frozenset(
    {
        "VENDOR_TIMEOUT",
        "VENDOR_STREAM_TRUNCATED",
        "VENDOR_ERROR",
        "VENDOR_OVERLOADED",
        "VENDOR_UNREACHABLE",
        "VENDOR_RATE_LIMITED",
    }
)
"""Failures that another try may be spared. Of others the endpoint would say the same again."""

OF_THE_WEATHER = frozenset(
    {Rule.HEALTH_DOWN, Rule.HEALTH_RESTING, Rule.BREAKER_OPEN, Rule.CEILING_TTFT, Rule.CEILING_DURATION}
)
"""Rules that drop candidates for how they fare at the moment."""

_DRAW_PAUSE = 60


class SecondLook:
    """Looks again, for one request."""

    def __init__(self, tools: "Tools", record: DecisionRecord, left_s: Callable[[], float]) -> None:
        self._tools = tools
        self._record = record
        self._left_s = left_s
        self._calm: tuple[Decision, Decision] | None = None

    @property
    def has_choice(self) -> bool:
        """True if several can and may take the request, whoever of them rests."""
        return len(self._plan()) > 1

    @property
    def resting(self) -> list[int]:
        """Candidates of the plan that take no calls at this moment."""
        rest_s = self._tools.observations.rest_s
        plan = self._record.decision.plan
        return [planned.index for planned in plan if rest_s(self._endpoint(planned)) > 0.0]

    def has_others(self, index: int) -> bool:
        """True if another candidate than this one may be called yet, now or once it is back."""
        return any(
            planned.index != index and self._rest_s(planned, 0.0) is not None for planned in self._plan()
        )

    async def find(self) -> Next | None:
        """Whom to call, as soon as there is somebody; None: nobody, within what is left or worth waiting."""
        tools, record = self._tools, self._record
        if len(record.attempts) >= record.decision.question.rules.attempts_max:
            return None
        begun_s = tools.clock.monotonic_s()
        wait_s = min(WAIT_S_MAX, self._left_s() - ATTEMPT_S_MIN)
        if wait_s < 0.0:
            return None
        while True:
            waited_s = tools.clock.monotonic_s() - begun_s
            rests = []
            for planned in self._plan():
                rest_s = self._rest_s(planned, waited_s)
                if rest_s is None:
                    continue
                if rest_s <= 0.0:
                    return self._next(planned)
                rests.append(rest_s)
            if not rests or waited_s + min(rests) > wait_s:
                return None
            await asyncio.sleep(min(LOOK_EVERY_S, min(rests)))

    def _rest_s(self, planned: Planned, waited_s: float) -> float | None:
        """Seconds until the candidate may be called; None: not any more for this request."""
        calls = self._calls(planned)
        if calls and (calls >= TRIES_MAX or not self._transient(planned)):
            return None
        rest_s = self._tools.observations.rest_s(self._endpoint(planned))
        if calls:  # callers that failed together do not come back together
            seed = self._record.decision.question.seed
            rest_s = max(rest_s, PAUSE_S_FIRST * unit(seed, _DRAW_PAUSE + planned.index) - waited_s)
            if not self._tools.retries.allows:
                rest_s = max(rest_s, LOOK_EVERY_S)
        return rest_s

    def _next(self, planned: Planned) -> Next:
        if self._calls(planned) == 0:
            return Next(planned)
        self._tools.retries.retry()
        return Next(planned, purpose="retry")

    def _plan(self) -> tuple[Planned, ...]:
        """Who could take the request if all were well, best first."""
        decision = self._record.decision
        if OF_THE_WEATHER.isdisjoint(decision.codes.tolist()):
            return decision.plan  # all are well: to decide once more would give the same candidates
        if self._calm is None or self._calm[0] is not decision:
            self._calm = (decision, self._tools.router.calm(decision))
        return self._calm[1].plan

    def _calls(self, planned: Planned) -> int:
        return len(self._failures(planned))

    def _transient(self, planned: Planned) -> bool:
        return all(failure in TRANSIENT for failure in self._failures(planned))

    def _failures(self, planned: Planned) -> list[str]:
        """What came of the calls of the candidate so far; empty texts of calls that are under way."""
        endpoint_id = self._endpoint(planned)
        return [
            attempt.failure
            for attempt in self._record.attempts
            if attempt.endpoint_id == endpoint_id and attempt.failure != NOTHING_SENT
        ]

    def _endpoint(self, planned: Planned) -> str:
        return self._record.decision.question.board.candidates[planned.index].endpoint.endpoint_id
