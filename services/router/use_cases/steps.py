"""The steps that every road of a request is made of: hold, call, follow a failure, settle, end.

Before anything is sent there is a hold; every attempt ends settled once: by this module, by `Settlements` in the
background when the caller is gone, or by the witness when this process is.
"""

import asyncio

from services.kernel.errors import RequestTooLarge, ServiceUnavailable, TurnpikeError
from services.router.domain import fallback
from services.router.domain.draws import unit
from services.router.domain.fallback import Next, RetryClass, Stop
from services.router.errors import AllAttemptsFailed, RequestRejected
from services.router.ports import Dispatch, Free, Settlement
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Ask, Finished, Tools
from services.router.use_cases.attempt import Attempt, Ended
from services.router.use_cases.holding import Holding
from services.router.use_cases.route import refusal
from services.router.use_cases.second_look import SecondLook
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

_DRAW_PAUSE = 40

_FOR_ALL = (ServiceUnavailable, RequestTooLarge)
"""What keeps an attempt from the providers service would keep any other from it; nothing was sent."""


class Steps:
    """The steps of one request, whose route is decided."""

    def __init__(self, tools: Tools, ask: Ask, record: DecisionRecord, begun_s: float) -> None:
        """`begun_s`: monotonic seconds of the request's arrival."""
        self.tools = tools
        self.ask = ask
        self.record = record
        self.look = SecondLook(tools, record, lambda: self.left_s)
        self.holding = Holding(tools, ask, record, self.look)
        self.under_way: list[Attempt] = []
        """Attempts that are not settled yet, nor about to be."""
        self.answered = False
        """The answer is complete and paid: whoever leaves now has it."""
        self._open_ends = 1
        """Parts that the record waits for: the road itself, attempts that were abandoned, a mirror."""
        self._begun_s = begun_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request's arrival."""
        return self.tools.clock.monotonic_s() - self._begun_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; below 0 behind it."""
        return self.ask.left_s - self.elapsed_s

    # ---- beginning an attempt ----------------------------------------------------------------------------------------

    async def first(self, purpose: str = "first") -> Attempt:
        """The first attempt, held. Raises NoCandidate or ModelNotAllowed if nobody can and may take the request."""
        plan = self.record.decision.plan
        if plan:
            return await self.open(Next(plan[0], purpose=purpose))
        found = await self.look.find()  # everybody who can and may may be resting
        if found is None:
            raise refusal(self.record.decision, self.record.decision_id)
        return await self.open(Next(found.planned, purpose="first"))

    async def open(self, step: Next) -> Attempt:
        """The step's attempt with its hold granted, or that of another candidate which fits. Raises BudgetRefused."""
        if step.after_s > 0:
            await asyncio.sleep(step.after_s)
        attempt = await self.holding.admit(step)
        self.under_way.append(attempt)
        return attempt

    async def open_now(self, step: Next) -> Attempt | None:
        """The step's attempt, at once and with nobody in its place; None: its endpoint takes no calls now."""
        attempt = await self.holding.admit_now(step)
        if attempt is not None:
            self.under_way.append(attempt)
        return attempt

    def dispatch(self, attempt: Attempt, given: content_pb2.GenerationInput | None = None) -> Dispatch:
        """The call of an attempt: of the request's own input, unless another is given."""
        ask, decision, planned = self.ask, self.record.decision, attempt.step.planned
        left_s = max(self.left_s, 0.0)
        patience = self._patience(attempt, left_s)
        attempt.had_time = patience.fair
        return Dispatch(
            key=attempt.key,
            caller=ask.caller,
            model=attempt.record.model,
            endpoint_id=attempt.record.endpoint_id,
            input=ask.input if given is None else given,
            output_cap=planned.output_cap,
            stream=ask.streamed,
            lease=attempt.grant.lease,
            price_revision=decision.question.board.price_revision,
            connect_timeout_s=patience.connect_s,
            first_token_timeout_s=patience.first_token_s,
            idle_timeout_s=min(fallback.IDLE_S if ask.streamed else fallback.BODY_IDLE_S, left_s),
            time_left_s=left_s,
            vendor_user=ask.vendor_user,
        )

    def _patience(self, attempt: Attempt, left_s: float) -> fallback.Patience:
        record, decision, index = self.record, self.record.decision, attempt.step.planned.index
        untried = len({other.index for other in decision.plan}.difference(self.holding.tried))
        if untried == 0 and self.look.has_others(index):
            untried = 1  # who rests now may be back by then
        others = min(untried, decision.question.rules.attempts_max - len(record.attempts))
        # Without a stream the first byte comes when the answer is complete.
        expected_s = decision.question.weather.ttft_s if self.ask.streamed else decision.duration_s
        probing = self.tools.observations.probing(attempt.record.endpoint_id)
        return fallback.patience(left_s, float(expected_s[index]), others=others, probing=probing)

    # ---- what follows an attempt -------------------------------------------------------------------------------------

    async def finish(
        self, attempt: Attempt, answer: providers_pb2.AttemptFinished, settlement: Settlement
    ) -> Finished:
        """Settles the attempt that answered; the request's end."""
        self.under_way.remove(attempt)
        await self.holding.settle(attempt, settlement)
        self.answered = True
        return Finished(answer, attempt.step.planned.output_cap, attempt.record)

    async def go_on(self, attempt: Attempt, settlement: Settlement, step: Next) -> Attempt:
        """The next attempt, whose hold is made in the same step as the last one's settlement."""
        self.under_way.remove(attempt)
        self.holding.settle_with_next(attempt, settlement)
        return await self.open(step)

    async def another(self, attempt: Attempt, ended: Ended, *, instead: Next | None = None) -> Attempt:
        """The attempt after one that failed before anything was told; raises when there is nothing to try.

        `instead`: the step to take, whatever else would follow, while there are attempts and time left.
        """
        settlement, retry_class, retry_after_s = attempt.failed(ended)
        step: Next | Stop = Stop("no model can be called with it, or at all")
        if not isinstance(ended, _FOR_ALL):
            # A trial's failure is its own: the direct road would not know of it, whatever is said of the request.
            may_help = retry_class if instead is None else RetryClass.OTHER_MODEL
            step = self._next(attempt, may_help, retry_after_s)
        if isinstance(step, Next):
            step = instead or step
            if step.purpose == "retry":
                self.tools.retries.retry()
            return await self.go_on(attempt, settlement, step)
        self.under_way.remove(attempt)
        await self.holding.settle(attempt, settlement)
        record = self.record
        if isinstance(ended, _FOR_ALL):
            raise ended
        if retry_class is RetryClass.NEVER:
            raise RequestRejected.of(record.decision_id, record.failed_attempts)
        if retry_class is not RetryClass.LARGER_CONTEXT and (found := await self.look.find()) is not None:
            return await self.open(found)
        raise AllAttemptsFailed(record.decision_id, record.failed_attempts, retry_after_s)

    def _next(self, attempt: Attempt, retry_class: RetryClass, retry_after_s: float | None) -> Next | Stop:
        record, decision, retries = self.record, self.record.decision, self.tools.retries
        step = fallback.after_failure(
            decision.question.board,
            decision.plan,
            self.holding.tried,
            attempt.step.planned,
            retry_class,
            retry_after_s=retry_after_s,
            attempts_left=decision.question.rules.attempts_max - len(record.attempts),
            left_s=self.left_s,
            retries_allowed=retries.allows,
            draw=unit(decision.question.seed, _DRAW_PAUSE + len(record.attempts)),
        )
        if isinstance(step, Next) and step.purpose == "retry" and self.look.has_choice:
            return Stop("the second look chooses among all")
        return step

    # ---- ending ------------------------------------------------------------------------------------------------------

    def end(self, failure: TurnpikeError | None) -> None:
        """However the request ends: nothing stays open, and it is recorded, once, when its last part has ended."""
        self.holding.close()
        record = self.record
        record.duration_s = self.elapsed_s
        record.failure = failure.reason if failure is not None else ""
        for attempt in self.under_way:
            self.abandon(attempt, "the caller left")
        mirrored = record.decision.question.rules.mirror is not None and self.answered and failure is None
        if mirrored and self.tools.mirrors.begin(self.tools, self.ask, record, self._part_ended):
            self._open_ends += 1
        if self._open_ends > 1:
            self.tools.log.keep(record)
        self._part_ended()

    def _part_ended(self) -> None:
        """Records the request if nothing is open any more: whoever stores the record keeps its first version."""
        self._open_ends -= 1
        if self._open_ends == 0:
            self.tools.log.record(self.record)

    def abandon(self, attempt: Attempt, why: str) -> bool:
        """Stops an attempt and settles it in the background; False if it was not called yet."""
        settlements = self.tools.settlements
        if not attempt.abandon(why):
            settlements.later(attempt.key, Free(why))
            return False
        self._open_ends += 1
        settlements.go_on(self._wind_up(attempt))
        return True

    async def _wind_up(self, attempt: Attempt) -> None:
        try:
            settlement = await attempt.wind_up()
            receipt = await self.tools.settlements.settle(attempt.key, settlement)
            if receipt is not None:
                attempt.record.cost_nanos = receipt.charged_nanos
                attempt.record.unconfirmed = receipt.unconfirmed
        finally:
            self._part_ended()
