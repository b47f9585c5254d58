"""A stream's road: the answer is passed on as it comes, and nothing follows its first piece but its end.

That end may be a typed failure, a cut where the budgets have no room for more (extending.py), or, where the caller or
the policy allows it, another model's announced continuation (continuing.py).
"""

from services.kernel.errors import TurnpikeError
from services.router.errors import StreamInterrupted
from services.router.use_cases import continuing, extending
from services.router.use_cases.asking import Finished, Say, Started
from services.router.use_cases.attempt import Attempt, Ended, Events, answer_of
from services.router.use_cases.continuing import Said, continuable
from services.router.use_cases.extending import Meter
from services.router.use_cases.hedging import hedged
from services.router.use_cases.steps import Steps
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2


class Stream:
    """One streamed answer."""

    def __init__(self, steps: Steps, say: Say) -> None:
        rules, given = steps.record.decision.question.rules, steps.ask.input
        self._steps = steps
        self._say = say
        self._told = 0
        """Pieces that the caller has got, of all attempts."""
        self._hedge_after_s = rules.hedge_after_s
        self._said = Said(given) if rules.continue_on_other_model and continuable(given) else None
        """There if another model may continue the answer."""

    async def answer(self, attempt: Attempt) -> Finished:
        """The answer's end, once all before it was said."""
        steps = self._steps
        while True:
            ended: Ended = None
            try:
                attempt, events = await self._called(attempt)
                meter = Meter.of(steps.tools.holds, attempt)
                async for event in events:
                    kind = event.WhichOneof("event")
                    if kind == "delta":
                        await self._tell(attempt, event.delta)
                        if meter is not None and not await meter.covers(event.delta):
                            return await self._cut(attempt)
                    elif kind != "started":
                        ended = event
            except TurnpikeError as error:
                ended = error
            attempt.leave()
            answer = answer_of(ended)
            if answer is not None:
                finished = await steps.finish(attempt, answer, attempt.succeeded(answer))
                if attempt.deltas == 0:
                    await self._say(started(steps, attempt))
                return finished
            if self._told:
                attempt = await self._continued(attempt, ended)
            else:
                attempt = await steps.another(attempt, ended)

    async def _called(self, attempt: Attempt) -> tuple[Attempt, Events]:
        """The attempt that speaks, and its events: the given one, or a hedge that was quicker."""
        steps = self._steps
        if attempt.step.purpose == continuing.PURPOSE:
            assert self._said is not None
            return attempt, await attempt.begin(steps.dispatch(attempt, self._said.input_to_go_on))
        events = await attempt.begin(steps.dispatch(attempt))
        if self._hedge_after_s is None:
            return attempt, events
        return await hedged(steps, attempt, events, self._hedge_after_s)

    async def _tell(self, attempt: Attempt, delta: content_pb2.ChoiceDelta) -> None:
        attempt.delta()
        if attempt.deltas == 1:
            await self._say(started(self._steps, attempt))
        self._told += 1
        if self._said is not None:
            self._said.add(delta)
        await self._say(delta)

    async def _cut(self, attempt: Attempt) -> Finished:
        """Ends a stream whose budgets have no room for more: what was said stands, and the end says so."""
        settlement = await attempt.stop(extending.REASON, "The budgets had no room for more of the answer.")
        answer = providers_pb2.AttemptFinished(endpoint_id=attempt.record.endpoint_id)
        finished = await self._steps.finish(attempt, answer, settlement)
        await self._say(content_pb2.ChoiceDelta(finish_reason=content_pb2.FINISH_REASON_BUDGET))
        return finished

    async def _continued(self, attempt: Attempt, ended: Ended) -> Attempt:
        """The attempt that goes on where one broke off; raises StreamInterrupted if there is none, after settling."""
        steps, said = self._steps, self._said
        settlement, _, _ = attempt.failed(ended)
        steps.under_way.remove(attempt)
        step = None
        if said is not None:
            record, passed_over = steps.record, (*steps.holding.tried, *steps.look.resting)
            step = said.next(record.decision, passed_over, record.attempts, left_s=steps.left_s)
        if step is None:
            await steps.holding.settle(attempt, settlement)
            raise self._interrupted()
        steps.holding.settle_with_next(attempt, settlement)
        why: TurnpikeError | None = None
        try:
            admitted = await steps.open_now(step)
            if admitted is not None:
                return admitted
        except TurnpikeError as error:  # no room, or nobody to ask for it: the answer ends where it broke off
            why = error
        await steps.holding.settle_alone()
        raise self._interrupted() from why

    def _interrupted(self) -> StreamInterrupted:
        record = self._steps.record
        return StreamInterrupted(record.decision_id, record.failed_attempts, self._told, record.cost_nanos)


def started(steps: Steps, attempt: Attempt) -> Started:
    """Says who answers, and writes down when the first piece was there."""
    if steps.record.ttft_s is None:
        steps.record.ttft_s = steps.elapsed_s
    return Started(attempt.record.model, attempt.key.attempt, attempt.step.purpose == continuing.PURPOSE)
