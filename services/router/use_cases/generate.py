"""The road of one request: decide, hold, call, fall back, settle, and say what it took.

    run = generate.begin(request, caller, left_s=deadline)
    async with aclosing(run.events()) as events:
        async for event in events: ...            # Started, ChoiceDelta, …, Finished

Before anything is sent there is a hold; every attempt ends settled once, by this module, by `Settlements` in the
background when the caller is gone, or by the witness when this process is. Nothing follows the first token but the
answer's end or a typed failure.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from services.chassis import attributes as names
from services.chassis import tracing
from services.kernel.clock import Clock
from services.kernel.errors import (
    Cancelled,
    DeadlineExceeded,
    OutcomeUnknown,
    ServiceUnavailable,
    TurnpikeError,
)
from services.kernel.ids import DecisionId, RequestId
from services.router.domain import explain, fallback
from services.router.domain.access import Caller
from services.router.domain.draws import unit
from services.router.domain.fallback import Next, RetryBudget, RetryClass, Stop
from services.router.errors import (
    AllAttemptsFailed,
    BudgetRefused,
    RequestRejected,
    StreamInterrupted,
)
from services.router.ports import (
    AttemptKey,
    Charge,
    Conversation,
    DecisionLog,
    Dispatch,
    Free,
    Grant,
    Holds,
    HoldTerms,
    Models,
    Observations,
    Receipt,
    Settlement,
    SettlementOutcome,
)
from services.router.records import AttemptRecord, DecisionRecord
from services.router.use_cases.leases import LEASE_S, Leases
from services.router.use_cases.route import Router, Subject, excluded, headroom_of, refusal
from services.router.use_cases.settle import Settlements
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.providers.v1 import providers_pb2

REPLANS_MAX = 2
"""How often a refused hold makes a new plan: the second one knows every budget that refused the first."""

HOLD_TRIES = 3
"""A hold whose answer was lost is asked for again, with its key: that spans a restart of the budget service."""

SETTLED_BEFORE = frozenset({"HOLD_ALREADY_SETTLED", "HOLD_NOT_FOUND"})

CREDIT_EVERY = 128
"""Deltas after which the model may send as many more; half of what it begins with, so that it never waits for us."""

CANCELLED_WAIT_S = 5.0
"""How long a cancelled attempt may take to tell what it cost."""

DROPPED_EVENTS_MAX = 24
"""Dropped candidates that the trace names; the decision has them all."""

_DRAW_PAUSE = 40
_RETRY_CLASSES = {
    error_pb2.RETRY_CLASS_SAME_ENDPOINT: RetryClass.SAME_ENDPOINT,
    error_pb2.RETRY_CLASS_OTHER_CREDENTIAL: RetryClass.OTHER_CREDENTIAL,
    error_pb2.RETRY_CLASS_OTHER_MODEL: RetryClass.OTHER_MODEL,
    error_pb2.RETRY_CLASS_LARGER_CONTEXT: RetryClass.LARGER_CONTEXT,
}
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an answer, as the run of it sees it."""

    request_id: RequestId
    callers_id: bool
    """True if the caller chose the id, and so may repeat the request."""
    subject: Subject
    input: content_pb2.GenerationInput
    streamed: bool
    metadata: dict[str, str]
    dimensions: dict[str, str]
    """What usage is reported by, beside the principal: task, route, and the caller's own names."""
    left_s: float
    """What is left of the deadline, at the beginning."""
    vendor_user: str = ""

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.subject.caller


@dataclass(frozen=True, slots=True)
class Started:
    """A model has begun to answer."""

    model: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    answer: providers_pb2.AttemptFinished
    output_cap: int


Event = Started | Finished | content_pb2.ChoiceDelta


@dataclass(slots=True)
class _Open:
    """An attempt under way: what must be ended and settled, however the request ends."""

    key: AttemptKey
    step: Next
    grant: Grant
    record: AttemptRecord
    span: tracing.Span
    block: AbstractAsyncContextManager[Conversation] | None = None
    conversation: Conversation | None = None
    deltas: int = 0


class Generate:
    """Begins runs."""

    def __init__(
        self,
        router: Router,
        holds: Holds,
        models: Models,
        settlements: Settlements,
        leases: Leases,
        log: DecisionLog,
        observations: Observations,
        clock: Clock,
    ) -> None:
        self.router = router
        self.holds = holds
        self.models = models
        self.settlements = settlements
        self.leases = leases
        self.log = log
        self.observations = observations
        self.clock = clock
        self.retries = RetryBudget()

    def begin(self, ask: Ask) -> "Run":
        """A run of the request; nothing happens before its events are asked for."""
        return Run(self, ask)


class Run:
    """One run of one request."""

    def __init__(self, does: Generate, ask: Ask) -> None:
        self._does = does
        self._ask = ask
        self._begun_s = does.clock.monotonic_s()
        self._tried: list[int] = []
        self._open: _Open | None = None
        self._done = False
        self._holding: AttemptKey | None = None
        self._unsettled: tuple[_Open, Settlement] | None = None
        self.record: DecisionRecord | None = None

    @property
    def _left_s(self) -> float:
        return self._ask.left_s - (self._does.clock.monotonic_s() - self._begun_s)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request's arrival."""
        return self._does.clock.monotonic_s() - self._begun_s

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer as it comes. Raises what a request can fail with; leaving early cancels the vendor's call."""
        failure: TurnpikeError | None = None
        try:
            step: Next = self._decide()
            while True:
                if step.after_s > 0:
                    await asyncio.sleep(step.after_s)
                opened = await self._admit(step)
                ended: providers_pb2.DispatchEvent | TurnpikeError | None = None
                try:
                    async for event in await self._call(opened):
                        kind = event.WhichOneof("event")
                        if kind == "delta":
                            if opened.deltas == 0:
                                self._first_token(opened)
                                yield Started(opened.record.model, opened.key.attempt)
                            opened.deltas += 1
                            if opened.deltas % CREDIT_EVERY == 0 and opened.conversation is not None:
                                opened.conversation.grant_credit(CREDIT_EVERY)
                            yield event.delta
                        elif kind in ("finished", "failed"):
                            ended = event
                except TurnpikeError as error:
                    ended = error
                await self._left(opened)
                if isinstance(ended, providers_pb2.DispatchEvent) and ended.HasField("finished"):
                    answer = ended.finished
                    await self._succeed(opened, answer)
                    if self._ask.streamed and opened.deltas == 0:
                        yield Started(opened.record.model, opened.key.attempt)
                    self._done = True
                    yield Finished(answer, opened.step.planned.output_cap)
                    return
                step = await self._fail(opened, ended)
        except (asyncio.CancelledError, GeneratorExit):
            if self._done:  # whoever reads stops at the last event
                raise
            failure = Cancelled() if self._left_s > 0 else DeadlineExceeded("generate", begun=True)
            self._abandon()
            raise
        except TurnpikeError as error:
            failure = error
            raise
        finally:
            self._end(failure)

    # ---- deciding ----------------------------------------------------------------------------------------------------

    def _decide(self) -> Next:
        does, ask = self._does, self._ask
        does.retries.request()
        if ask.left_s < fallback.ATTEMPT_S_MIN:
            raise DeadlineExceeded("routing", begun=False)
        decision_id = DecisionId.new()
        attributes: dict[str, tracing.AttributeValue] = {
            names.DECISION_ID: decision_id,
            names.REQUEST_ID: ask.request_id,
        }
        with tracing.span("route.decide", attributes) as span:
            decision = does.router.decide(ask.subject, _random.getrandbits(62))
            wishes = ask.subject.wishes
            self.record = DecisionRecord(
                decision_id=decision_id,
                request_id=ask.request_id,
                caller=ask.caller,
                decided_at=does.clock.now(),
                decision=decision,
                streamed=ask.streamed,
                metadata=ask.metadata,
                declared_task=wishes.task,
                route=wishes.route,
                data_class=wishes.data_class,
                trace_id=span.trace_id_hex if span.sampled else "",
            )
            span.set(names.ROUTE_STRATEGY, decision.question.rules.strategy.value)
            span.set(names.ROUTE_CANDIDATES, len(decision.question.board))
            self._tell(span)
            if decision.first is None:
                raise refusal(decision, decision_id)
        return Next(decision.plan[0], purpose="first")

    def _tell(self, span: tracing.Span) -> None:
        record = self.record
        assert record is not None
        decision = record.decision
        first = decision.first
        span.set(names.ROUTE_MODEL, first.name if first is not None else None)
        if not span.sampled:
            return
        dropped = [index for index in decision.codes.nonzero()[0] if decision.codes[index] != 1]
        for index in dropped[:DROPPED_EVENTS_MAX]:
            span.event(
                names.CANDIDATE_DROPPED_EVENT,
                {
                    names.ROUTE_MODEL: decision.question.board.candidates[index].name,
                    names.CANDIDATE_RULE: explain.rule_name(decision, int(index)),
                },
            )

    # ---- holding -----------------------------------------------------------------------------------------------------

    async def _admit(self, step: Next) -> _Open:
        """The step's hold, granted; or that of another candidate which fits. Raises the refusal, explained."""
        record = self.record
        assert record is not None
        step = self._not_probing(step)
        while True:
            try:
                return await self._hold(step)
            except BudgetRefused as refused:
                if not refused.is_shortage or record.replans >= REPLANS_MAX:
                    raise self._explained(refused) from refused
                record.replans += 1
                headroom = tuple(headroom_of(shortfall) for shortfall in refused.shortfalls)
                with tracing.span("route.decide", {names.DECISION_ID: record.decision_id}) as span:
                    decision = self._does.router.again(record.decision, headroom)
                    record.decision = decision
                    self._tell(span)
                untried = [planned for planned in decision.plan if planned.index not in self._tried]
                if not untried:
                    raise self._explained(refused) from refused
                step = Next(untried[0], purpose=step.purpose)

    def _not_probing(self, step: Next) -> Next:
        """The step, or the next candidate while the step's endpoint is being probed; the step if there is none."""
        record = self.record
        assert record is not None
        candidates = record.decision.question.board.candidates
        others = (planned for planned in record.decision.plan if planned.index not in self._tried)
        for planned in (step.planned, *(other for other in others if other != step.planned)):
            if self._does.observations.begun(candidates[planned.index].endpoint.endpoint_id):
                return step if planned == step.planned else Next(planned, purpose=step.purpose)
        return step

    async def _hold(self, step: Next) -> _Open:
        record = self.record
        assert record is not None
        does, ask = self._does, self._ask
        planned, board = step.planned, record.decision.question.board
        candidate = board.candidates[planned.index]
        key = AttemptKey(ask.caller.organisation_id, ask.request_id, len(record.attempts) + 1)
        terms = HoldTerms(
            caller=ask.caller,
            model=candidate.name,
            groups=candidate.model.groups,
            amount_nanos=planned.worst_case_nanos,
            input_tokens_bound=planned.input_bound,
            output_tokens_bound=planned.output_cap * ask.subject.features.choices,
            price_revision=board.price_revision,
            endpoint_id=candidate.endpoint.endpoint_id,
            lease_s=LEASE_S,
            claim=record.decision_id,
            dimensions=ask.dimensions,
        )
        self._holding = key
        with tracing.span(
            "budget.hold", {names.HOLD_NANOS: terms.amount_nanos, names.ATTEMPT: key.attempt}
        ) as span:
            grant = await self._granted(key, terms)
            span.set(names.HOLD_NANOS, grant.amount_nanos)
        does.leases.opened(key)
        self._tried.append(planned.index)
        attempt = AttemptRecord(
            number=key.attempt,
            model=candidate.name,
            endpoint_id=candidate.endpoint.endpoint_id,
            purpose=step.purpose,
            held_nanos=grant.amount_nanos,
            started_at=does.clock.now(),
            begun_s=does.clock.monotonic_s(),
        )
        record.attempts.append(attempt)
        span = tracing.span(
            f"attempt {key.attempt}", self._attempt_attributes(step, key), kind=tracing.Kind.CLIENT
        )
        self._open = _Open(key, step, grant, attempt, span)
        self._holding = None
        return self._open

    async def _granted(self, key: AttemptKey, terms: HoldTerms) -> Grant:
        """The hold; settles the attempt before it in the same step, where there was one."""
        holds = self._does.holds
        for tries_left in range(HOLD_TRIES - 1, -1, -1):
            before = self._unsettled
            try:
                if before is None:
                    return await holds.hold(key, terms)
                opened, settlement = before
                receipt, answer = await holds.settle_and_hold(opened.key, settlement, key.attempt, terms)
                self._unsettled = None
                self._settled(opened, receipt)
                if isinstance(answer, BudgetRefused):
                    raise answer
                return answer
            except BudgetRefused as refused:
                if before is None or self._unsettled is None or refused.reason not in SETTLED_BEFORE:
                    raise
                self._unsettled = None  # the witness was quicker; what is left is the hold
            except OutcomeUnknown:
                if tries_left == 0:
                    raise
        raise AssertionError("the last try returns or raises")

    def _explained(self, refused: BudgetRefused) -> BudgetRefused:
        record = self.record
        assert record is not None
        if refused.is_shortage:
            refused.excluded = excluded(record.decision)
            refused.max_output_tokens_fitting = record.decision.output_cap_fitting
        refused.decision_id = record.decision_id
        return refused

    def _attempt_attributes(self, step: Next, key: AttemptKey) -> dict[str, tracing.AttributeValue]:
        record = self.record
        assert record is not None
        model = record.decision.question.board.candidates[step.planned.index].model
        return {
            names.GEN_AI_OPERATION: "chat",
            names.GEN_AI_PROVIDER: model.provider,
            names.GEN_AI_REQUEST_MODEL: model.model.partition("/")[2],
            names.GEN_AI_REQUEST_MAX_TOKENS: step.planned.output_cap,
            names.GEN_AI_REQUEST_STREAM: self._ask.streamed,
            names.ENDPOINT_ID: record.attempts[-1].endpoint_id,
            names.ATTEMPT: key.attempt,
        }

    # ---- calling -----------------------------------------------------------------------------------------------------

    async def _call(self, opened: _Open) -> Conversation:
        record = self.record
        assert record is not None
        ask, question = self._ask, record.decision.question
        index = opened.step.planned.index
        left_s = self._left_s
        others = [planned for planned in record.decision.plan if planned.index not in self._tried]
        others_follow = bool(others) and len(record.attempts) < question.rules.attempts_max
        expected = record.decision.ttft_s if ask.streamed else record.decision.duration_s
        dispatch = Dispatch(
            key=opened.key,
            caller=ask.caller,
            model=opened.record.model,
            endpoint_id=opened.record.endpoint_id,
            input=ask.input,
            output_cap=opened.step.planned.output_cap,
            stream=ask.streamed,
            lease=opened.grant.lease,
            price_revision=question.board.price_revision,
            first_token_timeout_s=fallback.first_token_timeout_s(
                left_s, float(expected[index]), others_follow=others_follow
            ),
            idle_timeout_s=min(fallback.IDLE_S, left_s) if ask.streamed else None,
            time_left_s=max(left_s, 0.0),
            vendor_user=ask.vendor_user,
        )
        opened.span.__enter__()
        block = self._does.models.attempt(dispatch)
        opened.conversation = await block.__aenter__()
        opened.block = block
        return opened.conversation

    async def _left(self, opened: _Open) -> None:
        """The attempt has told its last event."""
        self._does.leases.closed(opened.key)
        block, opened.block = opened.block, None
        if block is not None:
            await block.__aexit__(None, None, None)
        opened.record.duration_s = self._does.clock.monotonic_s() - opened.record.begun_s

    def _first_token(self, opened: _Open) -> None:
        now_s = self._does.clock.monotonic_s()
        opened.record.ttft_s = now_s - opened.record.begun_s
        opened.span.set(names.GEN_AI_TIME_TO_FIRST_CHUNK, opened.record.ttft_s)
        if self.record is not None:
            self.record.ttft_s = now_s - self._begun_s

    # ---- ending ------------------------------------------------------------------------------------------------------

    async def _succeed(self, opened: _Open, answer: providers_pb2.AttemptFinished) -> None:
        attempt = opened.record
        if answer.HasField("usage"):
            attempt.usage = answer.usage
        if answer.HasField("time_to_first_token") and attempt.ttft_s is None:
            attempt.ttft_s = answer.time_to_first_token.ToNanoseconds() / 1e9
        if answer.endpoint_id:
            attempt.endpoint_id = answer.endpoint_id
        attempt.vendor_request_id = answer.vendor_request_id
        settlement = Charge(
            SettlementOutcome.SUCCEEDED,
            answer.usage if answer.HasField("usage") else None,
            answer.vendor_cost.nanos if answer.HasField("vendor_cost") else None,
            answer.endpoint_id,
            answer.vendor_request_id,
        )
        self._close_span(opened, answer, None)
        self._does.observations.succeeded(attempt)
        await self._settle(opened, settlement)

    async def _settle(self, opened: _Open, settlement: Settlement) -> None:
        self._open = None
        with tracing.span("budget.commit", {names.ATTEMPT: opened.key.attempt}) as span:
            receipt = await self._does.settlements.settle(opened.key, settlement)
            if receipt is not None:
                self._settled(opened, receipt)
                span.set(names.COST_NANOS, receipt.charged_nanos)

    def _settled(self, opened: _Open, receipt: Receipt) -> None:
        opened.record.cost_nanos = receipt.charged_nanos
        opened.record.unconfirmed = receipt.unconfirmed
        if self.record is not None and receipt.rooms:
            self.record.rooms = receipt.rooms

    async def _fail(self, opened: _Open, ended: "providers_pb2.DispatchEvent | TurnpikeError | None") -> Next:
        """Writes the failure down and says what to try next; raises when there is nothing, after settling."""
        record = self.record
        assert record is not None
        attempt = opened.record
        failed = ended.failed if isinstance(ended, providers_pb2.DispatchEvent) else None
        if failed is not None:
            attempt.failure = _reason(failed.reason)
            attempt.message = failed.message
            attempt.endpoint_id = failed.endpoint_id or attempt.endpoint_id
            attempt.vendor_request_id = failed.vendor_request_id
            attempt.usage = failed.usage if failed.HasField("usage") else None
            retry_class = _RETRY_CLASSES.get(failed.retry_class, RetryClass.NEVER)
            retry_after_s = (
                failed.retry_after.ToNanoseconds() / 1e9 if failed.HasField("retry_after") else None
            )
        else:
            error = ended if isinstance(ended, TurnpikeError) else OutcomeUnknown("providers")
            attempt.failure, attempt.message = error.reason, error.message
            retry_class, retry_after_s = RetryClass.OTHER_MODEL, None
        settlement = _settlement(failed, opened)
        self._close_span(opened, None, attempt)
        self._does.observations.failed(attempt)
        self._open = None
        if opened.deltas:
            await self._settle(opened, settlement)
            raise StreamInterrupted(
                record.decision_id, record.failed_attempts, opened.deltas, record.cost_nanos
            )
        step = self._next(opened, retry_class, retry_after_s, sent=_was_sent(opened, ended))
        if isinstance(step, Next):
            # Settled together with the next hold: a nearly full budget lends its own fallback what it has given back.
            self._unsettled = (opened, settlement)
            return step
        await self._settle(opened, settlement)
        if retry_class is RetryClass.NEVER:
            raise RequestRejected.of(record.decision_id, record.failed_attempts)
        if isinstance(ended, ServiceUnavailable):
            raise ended
        raise AllAttemptsFailed(record.decision_id, record.failed_attempts, retry_after_s)

    def _next(
        self, opened: _Open, retry_class: RetryClass, retry_after_s: float | None, *, sent: bool
    ) -> Next | Stop:
        if not sent:
            return Stop("the providers service is away")
        record = self.record
        assert record is not None
        decision = record.decision
        step = fallback.after_failure(
            decision.question.board,
            decision.plan,
            self._tried,
            opened.step.planned,
            retry_class,
            retry_after_s=retry_after_s,
            attempts_left=decision.question.rules.attempts_max - len(record.attempts),
            left_s=self._left_s,
            retries_allowed=self._does.retries.allows,
            draw=unit(decision.question.seed, _DRAW_PAUSE + len(record.attempts)),
        )
        if isinstance(step, Next) and step.purpose == "retry":
            self._does.retries.retry()
        return step

    def _close_span(
        self, opened: _Open, answer: providers_pb2.AttemptFinished | None, failed: AttemptRecord | None
    ) -> None:
        span = opened.span
        if answer is not None:
            span.set(names.GEN_AI_RESPONSE_MODEL, answer.vendor_model or None)
            span.set(names.GEN_AI_RESPONSE_ID, answer.vendor_request_id or None)
            if answer.HasField("usage"):
                span.set(names.GEN_AI_USAGE_INPUT_TOKENS, answer.usage.input_tokens)
                span.set(names.GEN_AI_USAGE_OUTPUT_TOKENS, answer.usage.output_tokens)
        if failed is not None:
            span.attributes[names.ERROR_TYPE] = failed.failure
            span.error_description = failed.message
        span.__exit__(None, None, None)

    def _abandon(self) -> None:
        """The caller is gone: stop what is under way, and settle it when it has told what it cost."""
        settlements = self._does.settlements
        if self._holding is not None:
            settlements.later(self._holding, Free("the caller left before the call"))
            self._holding = None
        if self._unsettled is not None:
            opened, settlement = self._unsettled
            settlements.later(opened.key, settlement)
            self._unsettled = None
        opened_now, self._open = self._open, None
        if opened_now is None:
            return
        opened_now.record.failure = "CANCELLED"
        opened_now.record.message = "The caller left."
        opened_now.span.attributes[names.ERROR_TYPE] = "CANCELLED"
        opened_now.span.error_description = "the caller left"
        opened_now.span.__exit__(None, None, None)
        if opened_now.conversation is None:
            self._does.leases.closed(opened_now.key)
            settlements.later(opened_now.key, Free("the caller left before the call"))
            return
        opened_now.conversation.cancel("the caller left")
        settlements.go_on(self._wind_up(opened_now))

    async def _wind_up(self, opened: _Open) -> None:
        """Waits for the last event of a cancelled attempt and settles by it."""
        ended: providers_pb2.DispatchEvent | None = None
        assert opened.conversation is not None
        try:
            async with asyncio.timeout(CANCELLED_WAIT_S):
                async for event in opened.conversation:
                    if event.WhichOneof("event") in ("finished", "failed"):
                        ended = event
        except (TimeoutError, TurnpikeError):
            ended = None
        self._does.leases.closed(opened.key)
        if opened.block is not None:
            await opened.block.__aexit__(None, None, None)
        attempt = opened.record
        attempt.duration_s = self._does.clock.monotonic_s() - attempt.begun_s
        settlement: Settlement
        if ended is not None and ended.HasField("finished"):
            usage = ended.finished.usage if ended.finished.HasField("usage") else None
            attempt.usage = usage
            settlement = Charge(SettlementOutcome.CANCELLED, usage, endpoint_id=attempt.endpoint_id)
        else:
            failed = ended.failed if ended is not None else None
            if failed is not None and failed.HasField("usage"):
                attempt.usage = failed.usage
            settlement = _settlement(failed, opened, SettlementOutcome.CANCELLED)
        receipt = await self._does.settlements.settle(opened.key, settlement)
        if receipt is not None:
            self._settled(opened, receipt)
        self._log()

    def _end(self, failure: TurnpikeError | None) -> None:
        record = self.record
        if self._unsettled is not None:  # the next hold failed with something else than a refusal
            opened, settlement = self._unsettled
            self._unsettled = None
            self._does.settlements.later(opened.key, settlement)
        if self._holding is not None and not isinstance(failure, BudgetRefused):
            self._does.settlements.later(self._holding, Free("nothing was sent"))
        if record is None:
            return
        record.duration_s = self._does.clock.monotonic_s() - self._begun_s
        if failure is not None:
            record.failure = failure.reason
            if record.attempts and record.attempts[-1].failure == "CANCELLED":
                return  # recorded when the attempt has told what it cost
        self._log()

    def _log(self) -> None:
        if self.record is not None:
            self._does.log.record(self.record)


def _settlement(
    failed: providers_pb2.AttemptFailed | None,
    opened: _Open,
    outcome: SettlementOutcome | None = None,
) -> Settlement:
    """What a failed attempt costs, by the table of outcomes; without a word from the providers service: all of it."""
    if failed is None:
        sent = opened.conversation is not None and opened.conversation.sent
        if not sent:
            return Free("nothing was sent")
        return Charge(SettlementOutcome.UNKNOWN, endpoint_id=opened.record.endpoint_id)
    if failed.charge == providers_pb2.CHARGE_RULE_NOTHING:
        return Free(_reason(failed.reason).lower())
    how = outcome or (SettlementOutcome.INTERRUPTED if opened.deltas else SettlementOutcome.FAILED)
    known = failed.charge == providers_pb2.CHARGE_RULE_USAGE
    return Charge(
        how if known else SettlementOutcome.UNKNOWN,
        failed.usage if known and failed.HasField("usage") else None,
        failed.vendor_cost.nanos if known and failed.HasField("vendor_cost") else None,
        failed.endpoint_id or opened.record.endpoint_id,
        failed.vendor_request_id,
    )


def _was_sent(opened: _Open, ended: "providers_pb2.DispatchEvent | TurnpikeError | None") -> bool:
    """False if the providers service itself could not be reached: then no other endpoint helps."""
    return not isinstance(ended, ServiceUnavailable)


def _reason(number: int) -> str:
    try:
        return error_pb2.ErrorReason.Name(error_pb2.ErrorReason.ValueType(number)).removeprefix(
            "ERROR_REASON_"
        )
    except ValueError:
        return f"REASON_{number}"
