"""The same request again gets the answer of the first time, or is told what became of it; never a second vendor's call.

The claim to a request is its first hold: the budget service refuses another run's hold of the same attempt, on
whatever replica, and that costs nothing on the way to the first token. What a claim led to is kept here: for a short
while in memory, and in the store for as long as a repetition is likely. An answer is kept in the store only for
projects that let content be captured, and encrypted (adapters/requests.py).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.kernel.clock import Clock
from services.kernel.errors import RequestIdReused
from services.router.errors import BudgetRefused, RequestAlreadySettled, RequestInProgress
from services.router.ports import AttemptKey, Holds
from services.router.use_cases.asking import Form, Write
from services.router.use_cases.forms import Collected, answered
from services.router.use_cases.generate import Run

KEPT_IN_MEMORY_S = 120.0
KEPT_BYTES_MAX = 16 * 1024 * 1024
ANSWER_BYTES_MAX = 512 * 1024
"""Longer answers are not kept: a repetition is told that the first one was settled."""

HOLDS_MAX = 16
"""Of a request are looked at where another replica has it; more than any policy lets one make."""

_CLAIMED_BY_ANOTHER = frozenset({"REQUEST_ID_REUSED", "HOLD_ALREADY_SETTLED"})

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request led to."""

    content_hash: bytes
    decision_id: str
    cost_nanos: int | None
    """None: not known yet."""
    parts: tuple[bytes, ...] | None
    """The answer's messages in order. None: it is not kept."""


class Outcomes(Protocol):
    """Where outcomes are kept beyond this process."""

    def put(self, organisation_id: str, request_id: str, outcome: Outcome, *, keep_answer: bool) -> None:
        """Keeps an outcome soon; never blocks, never raises. `keep_answer`: the project lets content be captured."""
        ...

    async def find(self, organisation_id: str, request_id: str) -> Outcome | None:
        """What a request led to; None: nobody knows (yet). Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Repeatable(Generic[Part]):
    """A request that its caller may repeat, and how its answer is written down."""

    organisation_id: str
    request_id: str
    content_hash: bytes
    keep_answer: bool
    form: Form[Part]


class Repeats:
    """Answers repetitions."""

    def __init__(self, outcomes: Outcomes, holds: Holds, clock: Clock) -> None:
        self._outcomes = outcomes
        self._holds = holds
        self._clock = clock
        self._under_way: dict[tuple[str, str], bytes] = {}
        self._kept: OrderedDict[tuple[str, str], tuple[float, Outcome]] = OrderedDict()
        self._kept_bytes = 0

    async def answer(self, request: Repeatable[Part], run: Run, write: Write[Part]) -> Part:
        """The answer's last message, those before it written: the run's, or those of the first time.

        Raises RequestInProgress, RequestAlreadySettled or RequestIdReused where there is no answer to give again.
        """
        name = (request.organisation_id, request.request_id)
        known = self._under_way.get(name)
        if known is not None:
            raise (
                RequestInProgress(request.request_id)
                if known == request.content_hash
                else RequestIdReused(request.request_id)
            )
        outcome = self._remembered(name)
        if outcome is None:
            self._under_way[name] = request.content_hash
            try:
                return await self._first(request, run, write)
            except BudgetRefused as refused:
                if refused.reason not in _CLAIMED_BY_ANOTHER:
                    raise
                outcome = await self._elsewhere(request)
            except BaseException:
                # Attempts that moved money were made: the request is spent, whatever became of it.
                if run.record is not None and run.record.attempts:
                    self._keep(request, run, None)
                raise
            finally:
                self._under_way.pop(name, None)
        *before, last = self._again(request, outcome)
        for part in before:
            await write(part)
        return last

    async def _first(self, request: Repeatable[Part], run: Run, write: Write[Part]) -> Part:
        """The run's answer, which is kept."""
        collected = Collected(request.form, write, bytes_max=ANSWER_BYTES_MAX)
        last = await answered(run, request.form, collected.write)
        self._keep(request, run, collected.with_last(last))
        return last

    def _again(self, request: Repeatable[Part], outcome: Outcome) -> Sequence[Part]:
        if outcome.content_hash != request.content_hash:
            raise RequestIdReused(request.request_id)
        if outcome.parts is None:
            raise RequestAlreadySettled(request.request_id, outcome.cost_nanos, outcome.decision_id or None)
        return [request.form.decode(part) for part in outcome.parts]

    async def _elsewhere(self, request: Repeatable[Part]) -> Outcome:
        """What became of a request that another run has claimed."""
        found = await self._outcomes.find(request.organisation_id, request.request_id)
        if found is not None:
            return found
        keys = [
            AttemptKey(request.organisation_id, request.request_id, number + 1) for number in range(HOLDS_MAX)
        ]
        states = [
            state for state in await asyncio.gather(*map(self._holds.state_of, keys)) if state is not None
        ]
        if any(state.is_open for state in states):
            raise RequestInProgress(request.request_id)
        charged = [state.charged_nanos for state in states if state.charged_nanos is not None]
        raise RequestAlreadySettled(request.request_id, sum(charged) if charged else None)

    def _keep(self, request: Repeatable[Part], run: Run, parts: tuple[bytes, ...] | None) -> None:
        record = run.record
        if record is None:
            return
        outcome = Outcome(
            request.content_hash,
            record.decision_id,
            record.cost_nanos,
            parts,
        )
        self._outcomes.put(
            request.organisation_id, request.request_id, outcome, keep_answer=request.keep_answer
        )
        name = (request.organisation_id, request.request_id)
        self._kept[name] = (self._clock.monotonic_s(), outcome)
        self._kept_bytes += _size(outcome)
        while self._kept and self._kept_bytes > KEPT_BYTES_MAX:
            _, (_, old) = self._kept.popitem(last=False)
            self._kept_bytes -= _size(old)

    def _remembered(self, name: tuple[str, str]) -> Outcome | None:
        oldest_s = self._clock.monotonic_s() - KEPT_IN_MEMORY_S
        while self._kept:
            first = next(iter(self._kept))
            if self._kept[first][0] >= oldest_s:
                break
            self._kept_bytes -= _size(self._kept.pop(first)[1])
        found = self._kept.get(name)
        return found[1] if found is not None else None


OVERHEAD_BYTES = 400
"""What an outcome takes beside its answer."""


def _size(outcome: Outcome) -> int:
    return OVERHEAD_BYTES + sum(map(len, outcome.parts or ()))
