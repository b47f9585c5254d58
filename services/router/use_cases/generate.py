"""The road of one request: decide, hold, call, commit, answer.

    run = Run(tools, ask)
    finished = await run.answer(say)      # say(Started), say(ChoiceDelta), … of a stream; nothing of a whole answer

`whole` is the plain road. A stream is passed on as it comes (streaming.py); where the rules ask for it a quicker
model steps in (hedging.py), or cheaper ones are asked before the road begins (trying.py). All of them are made of the
same steps (steps.py), and end here, however they end.
"""

import random

from services.chassis import attributes as names
from services.chassis import tracing
from services.kernel.errors import Cancelled, DeadlineExceeded, TurnpikeError
from services.kernel.ids import DecisionId
from services.router.domain import fallback
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Ask, Finished, Say, Tools
from services.router.use_cases.attempt import Attempt, answer_of
from services.router.use_cases.cascade import Trials
from services.router.use_cases.hedging import hedged
from services.router.use_cases.holding import tell
from services.router.use_cases.steps import Steps
from services.router.use_cases.streaming import Stream
from services.router.use_cases.trying import tried

_random = random.SystemRandom()


class Run:
    """One run of one request."""

    def __init__(self, tools: Tools, ask: Ask) -> None:
        self._tools = tools
        self._ask = ask
        self._begun_s = tools.clock.monotonic_s()
        self.record: DecisionRecord | None = None
        """There once the route is decided."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request's arrival."""
        return self._tools.clock.monotonic_s() - self._begun_s

    async def answer(self, say: Say) -> Finished:
        """The answer's end; its pieces go to `say` as they come, if the request is streamed.

        Raises what a request can fail with. Cancelling it cancels the vendor's call.
        """
        self.record = self._decided()
        steps = Steps(self._tools, self._ask, self.record, self._begun_s)
        failure: TurnpikeError | None = None
        try:
            return await _answered(steps, say)
        except TurnpikeError as error:
            failure = error
            raise
        except BaseException:  # cancelled, or there is nobody left to say it to
            if not steps.answered:
                failure = Cancelled() if steps.left_s > 0 else DeadlineExceeded("generate", begun=True)
            raise
        finally:
            steps.end(failure)

    def _decided(self) -> DecisionRecord:
        tools, ask = self._tools, self._ask
        tools.retries.request()
        if ask.left_s < fallback.ATTEMPT_S_MIN:
            raise DeadlineExceeded("routing", begun=False)
        decision_id = DecisionId.new()
        with tracing.span(
            "route.decide", {names.DECISION_ID: decision_id, names.REQUEST_ID: ask.request_id}
        ) as span:
            seed = _random.getrandbits(62)
            decision = tools.router.decide(ask.subject, seed)
            wishes = ask.subject.wishes
            record = DecisionRecord(
                decision_id=decision_id,
                request_id=ask.request_id,
                caller=ask.caller,
                decided_at=tools.clock.now(),
                decision=decision,
                streamed=ask.streamed,
                metadata=ask.metadata,
                declared_task=wishes.task,
                route=wishes.route,
                data_class=wishes.data_class,
                shadow_first=tools.router.shadow_first(ask.subject, seed),
                trace_id=span.trace_id_hex if span.sampled else "",
            )
            tell(span, record)
        return record


async def _answered(steps: Steps, say: Say) -> Finished:
    """Takes the road that the rules ask for."""
    trials = None
    if steps.record.decision.question.rules.cascade is not None:
        trials = Trials(steps.record, steps.ask.input)
    attempt = await steps.first("first" if trials is None else trials.purpose)
    if trials is not None:
        accepted = await tried(steps, trials, attempt, say)
        if isinstance(accepted, Finished):
            return accepted
        attempt = accepted
    if steps.ask.streamed:
        return await Stream(steps, say).answer(attempt)
    return await whole(steps, attempt)


async def whole(steps: Steps, attempt: Attempt) -> Finished:
    """The plain road: the answer of the first model that gives one, in one piece."""
    hedge_after_s = steps.record.decision.question.rules.hedge_after_s
    while True:
        events = await attempt.begin(steps.dispatch(attempt))
        if hedge_after_s is not None:
            attempt, events = await hedged(steps, attempt, events, hedge_after_s)
        ended = await attempt.last_of(events)
        answer = answer_of(ended)
        if answer is not None:
            return await steps.finish(attempt, answer, attempt.succeeded(answer))
        attempt = await steps.another(attempt, ended)
