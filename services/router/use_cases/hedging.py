"""Hedging: if the first model is silent for too long a second one is asked beside it; whoever speaks first answers.

Opt-in, because both are held and both may be charged. The loser is cancelled at once, and settled when it has told
what it cost.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from services.chassis.tasks import end
from services.kernel.errors import TurnpikeError
from services.router.domain.fallback import Next
from services.router.use_cases.attempt import Attempt, Ended, Events
from services.router.use_cases.steps import Steps
from turnpike.providers.v1 import providers_pb2

Word = Ended
"""The first thing that means something: a delta, the end, or why there is none."""


async def hedged(steps: Steps, attempt: Attempt, events: Events, after_s: float) -> tuple[Attempt, Events]:
    """The attempt that answers, and its events: the given one, or a hedge that was quicker."""
    heard = await race(Lane(attempt, events), after_s, lambda: _second(steps))
    for lane, word in heard.failed:
        lane.attempt.leave()
        settlement, _, _ = lane.attempt.failed(word)
        steps.under_way.remove(lane.attempt)
        await steps.holding.settle(lane.attempt, settlement)
    for lane in heard.losers:
        steps.under_way.remove(lane.attempt)
        steps.abandon(lane.attempt, "another model was quicker")
    return heard.lane.attempt, resumed(heard.word, heard.lane.events)


async def _second(steps: Steps) -> "Lane | None":
    """An attempt beside the first, at the next candidate; None if there is none, or no room for it."""
    decision, record = steps.record.decision, steps.record
    untried = [planned for planned in decision.plan if planned.index not in steps.holding.tried]
    if not untried or len(record.attempts) >= decision.question.rules.attempts_max:
        return None
    try:
        attempt = await steps.open_now(Next(untried[0], purpose="hedge"))
    except TurnpikeError:
        return None  # the first one goes on alone
    if attempt is None:
        return None
    return Lane(attempt, await attempt.begin(steps.dispatch(attempt)))


@dataclass(slots=True)
class Lane:
    """An attempt in the race."""

    attempt: Attempt
    events: Events
    task: "asyncio.Task[providers_pb2.DispatchEvent] | None" = None

    def listen(self) -> None:
        """Waits for the next event in a task of its own."""
        self.task = asyncio.ensure_future(anext(self.events))

    def word(self) -> Word:
        """What was heard. Only of a task that is done."""
        assert self.task is not None
        try:
            return self.task.result()
        except TurnpikeError as error:
            return error
        except StopAsyncIteration:
            return None


@dataclass(frozen=True, slots=True)
class Heard:
    """The winner with its first word, and what became of the others."""

    lane: Lane
    word: Word
    failed: tuple[tuple[Lane, Word], ...]
    """Lanes that failed while another went on."""
    losers: tuple[Lane, ...]
    """Lanes that were too slow."""


async def race(first: Lane, after_s: float, second: Callable[[], Awaitable[Lane | None]]) -> Heard:
    """Listens to `first`; after `after_s` seconds of silence also to what `second` begins, if it begins anything."""
    lanes = [first]
    failed: list[tuple[Lane, Word]] = []
    first.listen()
    waited = False
    try:
        while True:
            heard = {lane.task for lane in lanes if lane.task is not None}
            done, _ = await asyncio.wait(
                heard, timeout=None if waited else after_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                waited = True
                hedge = await second()
                if hedge is not None:
                    lanes.append(hedge)
                    hedge.listen()
                continue
            for lane in [lane for lane in lanes if lane.task in done]:
                word = lane.word()
                if _is_beginning(word):
                    lane.listen()
                elif not _is_failure(word) or len(lanes) == 1:
                    losers = tuple(other for other in lanes if other is not lane)
                    return Heard(lane, word, tuple(failed), losers)
                else:
                    lanes.remove(lane)
                    failed.append((lane, word))
    finally:
        await end(*(lane.task for lane in lanes if lane.task is not None))


async def resumed(word: Word, events: Events) -> AsyncIterator[providers_pb2.DispatchEvent]:
    """The winner's events, the first word again before the others."""
    if isinstance(word, TurnpikeError):
        raise word
    if word is None:
        return
    yield word
    async for event in events:
        yield event


def _is_beginning(word: Word) -> bool:
    return isinstance(word, providers_pb2.DispatchEvent) and word.HasField("started")


def _is_failure(word: Word) -> bool:
    return not isinstance(word, providers_pb2.DispatchEvent) or word.HasField("failed")
