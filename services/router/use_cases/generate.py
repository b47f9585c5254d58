"""The road of one request: decide, hold, call, fall back, settle, and say what it took.

    run = Run(tools, ask)
    async with aclosing(run.events()) as events:
        async for event in events: ...            # Started, ChoiceDelta, …, Finished

Before anything is sent there is a hold; every attempt ends settled once, by this module, by `Settlements` in the
background when the caller is gone, or by the witness when this process is. Nothing follows the first token but the
answer's end or a typed failure.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator

from services.chassis import attributes as names
from services.chassis import tracing
from services.kernel.errors import Cancelled, DeadlineExceeded, ServiceUnavailable, TurnpikeError
from services.kernel.ids import DecisionId
from services.router.domain import fallback
from services.router.domain.draws import unit
from services.router.domain.fallback import Next, RetryClass, Stop
from services.router.errors import AllAttemptsFailed, BudgetRefused, RequestRejected, StreamInterrupted
from services.router.ports import Dispatch, Free
from services.router.records import DecisionRecord
from services.router.use_cases import continuing, extending
from services.router.use_cases.asking import Ask, Event, Finished, Started, Tools
from services.router.use_cases.attempt import Attempt, Ended
from services.router.use_cases.cascade import Trials
from services.router.use_cases.continuing import Said, continuable
from services.router.use_cases.extending import Meter
from services.router.use_cases.hedging import Lane, Word, race, resumed
from services.router.use_cases.holding import Holding, tell
from services.router.use_cases.route import refusal
from services.router.use_cases.second_look import SecondLook
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

_DRAW_PAUSE = 40
_random = random.SystemRandom()


class Run:
    """One run of one request."""

    def __init__(self, tools: Tools, ask: Ask) -> None:
        self._tools = tools
        self._ask = ask
        self._begun_s = tools.clock.monotonic_s()
        self._holding: Holding | None = None
        self._look: SecondLook | None = None
        self._under_way: list[Attempt] = []
        self._done = False
        self._trials: Trials | None = None
        """There if a cascade is wanted."""
        self._said: Said | None = None
        """There if another model may continue the answer."""
        self.record: DecisionRecord | None = None
        """There once the route is decided."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request's arrival."""
        return self._tools.clock.monotonic_s() - self._begun_s

    @property
    def _left_s(self) -> float:
        return self._ask.left_s - self.elapsed_s

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer as it comes. Raises what a request can fail with; leaving early cancels the vendor's call."""
        failure: TurnpikeError | None = None
        try:
            record = self._decide()
            look = self._look = SecondLook(self._tools, record, lambda: self._left_s)
            holding = self._holding = Holding(self._tools, self._ask, record, look)
            step = await self._first(record, look)
            while True:
                if step.after_s > 0:
                    await asyncio.sleep(step.after_s)
                attempt = await self._open(holding, step)
                trials = self._trials if self._trials is not None and self._trials.on_trial(attempt) else None
                ended: Ended = None
                try:
                    attempt, events = await self._speaking(attempt, record, holding, alone=trials is not None)
                    meter = Meter.of(self._tools.holds, attempt)
                    async for event in events:
                        kind = event.WhichOneof("event")
                        if kind == "delta":
                            attempt.delta()
                            if trials is not None:
                                trials.held.append(event.delta)
                                continue
                            if attempt.deltas == 1:
                                yield self._started(attempt, record)
                            if self._said is not None:
                                self._said.add(event.delta)
                            yield event.delta
                            if meter is not None and not await meter.covers(event.delta):
                                for ending in await self._cut(attempt, holding):
                                    yield ending
                                return
                        elif kind != "started":
                            ended = event
                except TurnpikeError as error:
                    ended = error
                await attempt.leave()
                if isinstance(ended, providers_pb2.DispatchEvent) and ended.HasField("finished"):
                    settlement = attempt.succeeded(ended.finished)
                    self._under_way.remove(attempt)
                    escalated = trials.judge(attempt, ended.finished) if trials is not None else None
                    if escalated is not None:
                        holding.settle_with_next(attempt, settlement)
                        step = escalated
                        continue
                    await holding.settle(attempt, settlement)
                    self._done = True
                    if self._ask.streamed and (attempt.deltas == 0 or trials is not None):
                        yield self._started(attempt, record)
                    for delta in trials.held if trials is not None else ():
                        yield delta
                    yield Finished(ended.finished, attempt.step.planned.output_cap, attempt.record)
                    return
                step = await self._after_failure(attempt, ended, record, holding, trials)
        except (asyncio.CancelledError, GeneratorExit):
            if not self._done:  # whoever has the last event may leave
                failure = Cancelled() if self._left_s > 0 else DeadlineExceeded("generate", begun=True)
            raise
        except TurnpikeError as error:
            failure = error
            raise
        finally:
            self._end(failure)

    async def _cut(self, attempt: Attempt, holding: Holding) -> tuple[Event, ...]:
        """Ends a stream whose budgets have no room for more: what was said stands, and the end says so."""
        settlement = await attempt.stop(extending.REASON, "The budgets had no room for more of the answer.")
        self._under_way.remove(attempt)
        await holding.settle(attempt, settlement)
        self._done = True
        answer = providers_pb2.AttemptFinished(endpoint_id=attempt.record.endpoint_id)
        return (
            content_pb2.ChoiceDelta(finish_reason=content_pb2.FINISH_REASON_BUDGET),
            Finished(answer, attempt.step.planned.output_cap, attempt.record),
        )

    def _decide(self) -> DecisionRecord:
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
            record = self.record = DecisionRecord(
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
        rules = decision.question.rules
        if rules.cascade is not None:
            self._trials = Trials(record, ask.input)
        if rules.continue_on_other_model and ask.streamed and continuable(ask.input):
            self._said = Said(ask.input)
        return record

    async def _first(self, record: DecisionRecord, look: SecondLook) -> Next:
        """Whom to call first; raises NoCandidate or ModelNotAllowed if nobody can and may take the request."""
        if record.decision.plan:
            purpose = "first" if self._trials is None else self._trials.purpose
            return Next(record.decision.plan[0], purpose=purpose)
        found = await look.find()  # everybody who can and may may be resting
        if found is None:
            raise refusal(record.decision, record.decision_id)
        return Next(found.planned, purpose="first")

    def _started(self, attempt: Attempt, record: DecisionRecord) -> Started:
        if record.ttft_s is None:
            record.ttft_s = self.elapsed_s
        return Started(attempt.record.model, attempt.key.attempt, attempt.step.purpose == continuing.PURPOSE)

    def _dispatch(self, attempt: Attempt, record: DecisionRecord) -> Dispatch:
        ask, decision = self._ask, record.decision
        planned = attempt.step.planned
        left_s = max(self._left_s, 0.0)
        assert self._holding is not None
        untried = sum(other.index not in self._holding.tried for other in decision.plan)
        assert self._look is not None
        if untried == 0 and self._look.has_others(planned.index):
            untried = 1  # who rests now may be back by then
        others = min(untried, decision.question.rules.attempts_max - len(record.attempts))
        # Without a stream the first byte comes when the answer is complete.
        expected_s = decision.question.weather.ttft_s if ask.streamed else decision.duration_s
        probing = self._tools.observations.probing(attempt.record.endpoint_id)
        patience = fallback.patience(left_s, float(expected_s[planned.index]), others=others, probing=probing)
        return Dispatch(
            key=attempt.key,
            caller=ask.caller,
            model=attempt.record.model,
            endpoint_id=attempt.record.endpoint_id,
            input=self._said.input_to_go_on
            if self._said is not None and attempt.step.purpose == continuing.PURPOSE
            else ask.input,
            output_cap=planned.output_cap,
            stream=ask.streamed,
            lease=attempt.grant.lease,
            price_revision=decision.question.board.price_revision,
            connect_timeout_s=patience.connect_s,
            first_token_timeout_s=patience.first_token_s,
            idle_timeout_s=min(fallback.IDLE_S, left_s) if ask.streamed else None,
            time_left_s=left_s,
            vendor_user=ask.vendor_user,
        )

    async def _after_failure(
        self,
        attempt: Attempt,
        ended: Ended,
        record: DecisionRecord,
        holding: Holding,
        trials: Trials | None,
    ) -> Next:
        """What to try next; raises when there is nothing, after settling."""
        look = self._look
        assert look is not None
        settlement, retry_class, retry_after_s = attempt.failed(ended)
        self._under_way.remove(attempt)
        said = self._said
        if (attempt.deltas and trials is None) or (said is not None and said.deltas):
            going_on = None
            if said is not None:
                passed_over = (*holding.tried, *look.resting)
                going_on = said.next(record.decision, passed_over, record.attempts, left_s=self._left_s)
            if going_on is not None:
                holding.settle_with_next(attempt, settlement)
                return going_on
            await holding.settle(attempt, settlement)
            raise self._interrupted(attempt, record)
        step: Next | Stop = Stop("the providers service is away")
        if not isinstance(ended, ServiceUnavailable):
            step = self._next(attempt, record, holding, retry_class, retry_after_s)
            if isinstance(step, Next) and step.purpose == "retry" and look.has_choice:
                step = Stop("the second look chooses among all")
        if isinstance(step, Next):
            if step.purpose == "retry":
                self._tools.retries.retry()
            holding.settle_with_next(attempt, settlement)
            return step if trials is None else trials.escalated()
        await holding.settle(attempt, settlement)
        if isinstance(ended, ServiceUnavailable):
            raise ended
        if retry_class is RetryClass.NEVER:
            raise RequestRejected.of(record.decision_id, record.failed_attempts)
        if retry_class is not RetryClass.LARGER_CONTEXT and (found := await look.find()) is not None:
            return found
        raise AllAttemptsFailed(record.decision_id, record.failed_attempts, retry_after_s)

    def _interrupted(self, attempt: Attempt | None, record: DecisionRecord) -> StreamInterrupted:
        deltas = self._said.deltas if self._said is not None else attempt.deltas if attempt is not None else 0
        return StreamInterrupted(record.decision_id, record.failed_attempts, deltas, record.cost_nanos)

    def _next(
        self,
        attempt: Attempt,
        record: DecisionRecord,
        holding: Holding,
        retry_class: RetryClass,
        retry_after_s: float | None,
    ) -> Next | Stop:
        decision, retries = record.decision, self._tools.retries
        return fallback.after_failure(
            decision.question.board,
            decision.plan,
            holding.tried,
            attempt.step.planned,
            retry_class,
            retry_after_s=retry_after_s,
            attempts_left=decision.question.rules.attempts_max - len(record.attempts),
            left_s=self._left_s,
            retries_allowed=retries.allows,
            draw=unit(decision.question.seed, _DRAW_PAUSE + len(record.attempts)),
        )

    # ---- hedging -----------------------------------------------------------------------------------------------------

    async def _open(self, holding: Holding, step: Next) -> Attempt:
        if step.purpose == continuing.PURPOSE:
            assert self.record is not None
            try:
                admitted = await holding.admit_now(step)
            except BudgetRefused as refused:  # the answer ends where it broke off
                raise self._interrupted(None, self.record) from refused
            if admitted is None:
                raise self._interrupted(None, self.record)
            attempt = admitted
        else:
            attempt = await holding.admit(step)
        self._under_way.append(attempt)
        return attempt

    async def _speaking(
        self, attempt: Attempt, record: DecisionRecord, holding: Holding, *, alone: bool
    ) -> tuple[Attempt, AsyncIterator[providers_pb2.DispatchEvent]]:
        """The attempt that answers, and its events: the given one, or a hedge that was quicker.

        `alone`: the answer is on trial, beside which nobody is asked.
        """
        conversation = await attempt.begin(self._dispatch(attempt, record))
        after_s = record.decision.question.rules.hedge_after_s
        if after_s is None or alone or attempt.step.purpose == continuing.PURPOSE:
            return attempt, aiter(conversation)

        async def second() -> Lane | None:
            return await self._hedge(record, holding)

        heard = await race(Lane(attempt, aiter(conversation)), after_s, second)
        for lane, word in heard.failed:
            await lane.attempt.leave()
            settlement, _, _ = lane.attempt.failed(word)
            self._under_way.remove(lane.attempt)
            await holding.settle(lane.attempt, settlement)
        for lane, word in heard.losers:
            self._under_way.remove(lane.attempt)
            self._abandon(lane.attempt, record, "another model was quicker", word)
        return heard.lane.attempt, resumed(heard.word, heard.lane.events)

    async def _hedge(self, record: DecisionRecord, holding: Holding) -> Lane | None:
        """A second attempt beside the first, at the next candidate; None if there is none, or no room for it."""
        untried = [planned for planned in record.decision.plan if planned.index not in holding.tried]
        if not untried or len(record.attempts) >= record.decision.question.rules.attempts_max:
            return None
        try:
            attempt = await holding.admit_now(Next(untried[0], purpose="hedge"))
        except TurnpikeError:
            return None  # the first one goes on alone
        if attempt is None:
            return None
        self._under_way.append(attempt)
        conversation = await attempt.begin(self._dispatch(attempt, record))
        return Lane(attempt, aiter(conversation))

    # ---- ending ------------------------------------------------------------------------------------------------------

    def _end(self, failure: TurnpikeError | None) -> None:
        """However the request ends: nothing stays open, and it is recorded."""
        if self._holding is not None:
            self._holding.close()
        record = self.record
        if record is None:
            return
        record.duration_s = self.elapsed_s
        record.failure = failure.reason if failure is not None else ""
        # The caller has gone in the middle of an attempt: it is recorded when that has told what it cost.
        abandoned = [self._abandon(attempt, record, "the caller left") for attempt in self._under_way]
        if any(abandoned):
            return
        mirrored = record.decision.question.rules.mirror is not None and self._done and failure is None
        if mirrored and self._tools.mirrors.begin(self._tools, self._ask, record):
            self._tools.log.keep(record)  # the mirror records it
        else:
            self._tools.log.record(record)

    def _abandon(self, attempt: Attempt, record: DecisionRecord, why: str, word: Word = None) -> bool:
        """Stops an attempt and settles it in the background; False if it was not called yet."""
        settlements = self._tools.settlements
        if not attempt.abandon(why):
            settlements.later(attempt.key, Free(why))
            return False
        last = word if isinstance(word, providers_pb2.DispatchEvent) else None
        settlements.go_on(self._wind_up(attempt, record, last))
        return True

    async def _wind_up(
        self, attempt: Attempt, record: DecisionRecord, last: providers_pb2.DispatchEvent | None
    ) -> None:
        settlement = await attempt.wind_up(last)
        receipt = await self._tools.settlements.settle(attempt.key, settlement)
        if receipt is not None:
            attempt.record.cost_nanos = receipt.charged_nanos
            attempt.record.unconfirmed = receipt.unconfirmed
        if record.duration_s is not None:  # the request has ended, too
            self._tools.log.record(record)
