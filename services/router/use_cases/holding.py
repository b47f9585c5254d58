"""Holds the worst case before each attempt, settles the one before in the same step, and plans anew when refused."""

from services.chassis import attributes as names
from services.chassis import tracing
from services.kernel.errors import OutcomeUnknown, TurnpikeError
from services.router.domain import explain
from services.router.domain.catalogue import ModelKind
from services.router.domain.fallback import Next
from services.router.errors import BudgetRefused
from services.router.ports import AttemptKey, Free, Grant, HoldTerms, Receipt, Settlement
from services.router.records import AttemptRecord, DecisionRecord
from services.router.use_cases.asking import Ask, Tools
from services.router.use_cases.attempt import Attempt
from services.router.use_cases.leases import LEASE_S
from services.router.use_cases.route import excluded, headroom_of
from services.router.use_cases.second_look import SecondLook

REPLANS_MAX = 2
"""How often a refused hold makes a new plan: the second one knows every budget that refused the first."""

HOLD_TRIES = 3
"""A hold whose answer was lost is asked for again, with its key: that spans a restart of the budget service."""

SETTLED_BEFORE = frozenset({"HOLD_ALREADY_SETTLED", "HOLD_NOT_FOUND"})

DROPPED_EVENTS_MAX = 24
"""Dropped candidates that the trace names; the decision has them all."""

NOT_ASKED_FOR = 1
"""Value of Rule.NOT_ASKED_FOR, which is no news."""


_OPERATIONS = {ModelKind.CHAT: "chat", ModelKind.EMBEDDING: "embeddings"}
"""`gen_ai.operation.name` by what is asked for."""


class Holding:
    """The money side of one run."""

    def __init__(
        self, tools: Tools, ask: Ask, record: DecisionRecord, look: SecondLook | None = None
    ) -> None:
        """`look`: waits for somebody to be back where nobody takes calls now; None: the request does not wait."""
        self._look = look
        self._tools = tools
        self._ask = ask
        self._record = record
        self.tried: list[int] = []
        """Candidates that were called, in order, with repetitions."""
        self._asking: AttemptKey | None = None
        self._unsettled: tuple[Attempt, Settlement] | None = None

    async def admit(self, step: Next) -> Attempt:
        """The step's attempt with its hold granted; or that of another candidate which fits.

        Raises BudgetRefused, explained; ServiceUnavailable and the like if the budget service is away.
        """
        record = self._record
        while True:
            passed = await self._let_pass(step)
            try:
                return await self._held(passed or step, begun=passed is not None)
            except BudgetRefused as refused:
                if not refused.is_shortage or record.replans >= REPLANS_MAX:
                    raise self._explained(refused) from refused
                record.replans += 1
                self._plan_anew(refused)
                untried = [planned for planned in record.decision.plan if planned.index not in self.tried]
                if not untried:
                    raise self._explained(refused) from refused
                step = Next(untried[0], purpose=step.purpose)

    async def admit_now(self, step: Next) -> Attempt | None:
        """The step's attempt with its hold granted, at once and with no other candidate in its place.

        None: its endpoint takes no calls at this moment. Raises BudgetRefused; ServiceUnavailable and the like if the
        budget service is away.
        """
        if not self._tools.observations.begun(self._endpoint(step)):
            return None
        try:
            return await self._held(step, begun=True)
        except TurnpikeError:
            self._free_asking()
            raise

    def give_back(self, attempt: Attempt) -> None:
        """Frees, in the background, a hold under which nothing was sent."""
        self._tools.settlements.later(attempt.key, Free("nothing was sent"))

    def settle_with_next(self, attempt: Attempt, settlement: Settlement) -> None:
        """Settles a failed attempt in the same step as the next hold: it lends its fallback what it gives back."""
        self._unsettled = (attempt, settlement)

    async def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Settles an attempt now, or in the background if the budget service is away."""
        with tracing.span("budget.commit", {names.ATTEMPT: attempt.key.attempt}) as span:
            receipt = await self._tools.settlements.settle(attempt.key, settlement)
            if receipt is not None:
                self._settled(attempt, receipt)
                span.set(names.COST_NANOS, receipt.charged_nanos)

    async def settle_alone(self) -> None:
        """Settles what was to be settled with a hold that was not made, so that its cost is known."""
        if self._unsettled is not None:
            attempt, settlement = self._unsettled
            self._unsettled = None
            await self.settle(attempt, settlement)

    def close(self) -> None:
        """Nothing more will be asked: what is not settled is settled in the background."""
        self._free_asking()
        if self._unsettled is not None:
            attempt, settlement = self._unsettled
            self._tools.settlements.later(attempt.key, settlement)
            self._unsettled = None

    def _free_asking(self) -> None:
        """Frees, in the background, a hold that may have been made and that nothing will be sent under."""
        if self._asking is not None:
            free = Free("nothing was sent", claim=self._record.decision_id)
            self._tools.settlements.later(self._asking, free)
            self._asking = None

    # ---- one hold ----------------------------------------------------------------------------------------------------

    async def _held(self, step: Next, *, begun: bool) -> Attempt:
        """The step's attempt with its hold granted. Without one nothing is sent, and another may probe the endpoint.

        `begun`: the endpoint's breaker has let it pass.
        """
        try:
            return await self._hold(step)
        except BaseException as error:
            if begun:
                self._tools.observations.abandoned(self._endpoint(step))
            if isinstance(error, BudgetRefused):
                if error.is_shortage and self._asking is not None:
                    self._record.numbered = self._asking.attempt - 1
                self._asking = None  # a refusal moved nothing
            raise

    async def _hold(self, step: Next) -> Attempt:
        tools, ask, record = self._tools, self._ask, self._record
        planned, board = step.planned, record.decision.question.board
        candidate, rules = board.candidates[planned.index], record.decision.question.rules
        record.numbered += 1
        key = AttemptKey(ask.caller.organisation_id, ask.request_id, record.numbered)
        terms = HoldTerms(
            caller=ask.caller,
            model=candidate.name,
            groups=candidate.model.groups,
            amount_nanos=planned.worst_case_nanos,
            input_tokens_bound=planned.input_bound,
            output_tokens_bound=(planned.held_output or planned.output_cap) * ask.subject.features.choices,
            price_revision=board.price_revision,
            endpoint_id=candidate.endpoint.endpoint_id,
            lease_s=LEASE_S,
            claim=record.decision_id,
            dimensions=_dimensions(ask.dimensions, step.purpose),
            keep_free=rules.keep_free(ask.subject.task) if rules.reserved else None,
        )
        self._asking = key
        with tracing.span(
            "budget.hold", {names.HOLD_NANOS: terms.amount_nanos, names.ATTEMPT: key.attempt}
        ) as span:
            grant = await self._granted(key, terms)
            span.set(names.HOLD_NANOS, grant.amount_nanos)
        self._asking = None
        tools.leases.opened(key)
        self.tried.append(planned.index)
        attempt = AttemptRecord(
            number=key.attempt,
            model=candidate.name,
            endpoint_id=candidate.endpoint.endpoint_id,
            purpose=step.purpose,
            held_nanos=grant.amount_nanos,
            started_at=tools.clock.now(),
            begun_s=tools.clock.monotonic_s(),
        )
        record.attempts.append(attempt)
        record.rooms = grant.rooms or record.rooms
        tools.router.note_rooms(ask.caller, grant.rooms, grant.amount_nanos)
        span = self._span(attempt, planned.output_cap)
        bound = planned.output_cap * ask.subject.features.choices
        return Attempt(tools, key, step, grant, attempt, span, bound)

    async def _granted(self, key: AttemptKey, terms: HoldTerms) -> Grant:
        holds = self._tools.holds
        for tries_left in range(HOLD_TRIES - 1, -1, -1):
            before = self._unsettled
            try:
                if before is None:
                    return await holds.hold(key, terms)
                attempt, settlement = before
                receipt, answer = await holds.settle_and_hold(attempt.key, settlement, key.attempt, terms)
                self._unsettled = None
                self._settled(attempt, receipt)
                if isinstance(answer, BudgetRefused):
                    raise answer
                return answer
            except BudgetRefused as refused:
                if self._unsettled is None or refused.reason not in SETTLED_BEFORE:
                    raise
                self._unsettled = None  # the witness was quicker; what is left to do is the hold
            except OutcomeUnknown:
                if tries_left == 0:
                    raise
        raise OutcomeUnknown("budget")

    def _settled(self, attempt: Attempt, receipt: Receipt) -> None:
        attempt.record.cost_nanos = receipt.charged_nanos
        attempt.record.unconfirmed = receipt.unconfirmed
        self._record.rooms = receipt.rooms or self._record.rooms

    def _span(self, attempt: AttemptRecord, output_cap: int) -> tracing.Span:
        provider, _, model = attempt.model.partition("/")
        return tracing.span(
            f"attempt {attempt.number}",
            {
                names.GEN_AI_OPERATION: _OPERATIONS[self._ask.subject.features.kind],
                names.GEN_AI_PROVIDER: provider,
                names.GEN_AI_REQUEST_MODEL: model,
                names.GEN_AI_REQUEST_MAX_TOKENS: output_cap,
                names.GEN_AI_REQUEST_STREAM: self._ask.streamed,
                names.ENDPOINT_ID: attempt.endpoint_id,
                names.ATTEMPT: attempt.number,
                names.ATTEMPT_PURPOSE: attempt.purpose,
            },
            kind=tracing.Kind.CLIENT,
        )

    # ---- planning anew -----------------------------------------------------------------------------------------------

    async def _let_pass(self, step: Next) -> Next | None:
        """The step, or another whose endpoint takes calls, waited for if need be; None: nobody will in time."""
        passed = self._unless_probed(step)
        while passed is None and self._look is not None:
            found = await self._look.find()
            if found is None:
                break
            passed = self._unless_probed(found)
        return passed

    def _unless_probed(self, step: Next) -> Next | None:
        """The step, or the next candidate while the step's endpoint is being probed; None: nobody takes calls now."""
        begun = self._tools.observations.begun
        if begun(self._endpoint(step)):
            return step
        for planned in self._record.decision.plan:
            other = Next(planned, purpose=step.purpose)
            if planned != step.planned and planned.index not in self.tried and begun(self._endpoint(other)):
                return other
        return None

    def _endpoint(self, step: Next) -> str:
        return self._record.decision.question.board.candidates[step.planned.index].endpoint.endpoint_id

    def _plan_anew(self, refused: BudgetRefused) -> None:
        record = self._record
        headroom = tuple(headroom_of(shortfall) for shortfall in refused.shortfalls)
        with tracing.span("route.decide", {names.DECISION_ID: record.decision_id}) as span:
            record.decision = self._tools.router.again(record.decision, headroom)
            tell(span, record)

    def _explained(self, refused: BudgetRefused) -> BudgetRefused:
        record = self._record
        if refused.is_shortage:
            refused.excluded = excluded(record.decision)
            refused.max_output_tokens_fitting = record.decision.output_cap_fitting
        refused.decision_id = record.decision_id
        return refused


def tell(span: tracing.Span, record: DecisionRecord) -> None:
    """Writes a decision into its span: strategy, pick, and an event for each dropped candidate."""
    decision = record.decision
    first = decision.first
    span.set(names.ROUTE_STRATEGY, decision.question.rules.strategy.value)
    span.set(names.ROUTE_CANDIDATES, len(decision.question.board))
    span.set(names.ROUTE_MODEL, first.name if first is not None else None)
    if not span.sampled:
        return
    dropped = [index for index in decision.codes.nonzero()[0] if decision.codes[index] != NOT_ASKED_FOR]
    for index in dropped[:DROPPED_EVENTS_MAX]:
        span.event(
            names.CANDIDATE_DROPPED_EVENT,
            {
                names.ROUTE_MODEL: decision.question.board.candidates[index].name,
                names.CANDIDATE_RULE: explain.rule_name(decision, int(index)),
            },
        )


def _dimensions(asked: dict[str, str], purpose: str) -> dict[str, str]:
    """What usage is reported by; of all but first attempts also why they were made, unless callers use that name."""
    if purpose == "first":
        return asked
    return {"purpose": purpose, **dict(list(asked.items())[: DIMENSIONS_MAX - 1])}


DIMENSIONS_MAX = 16
"""As the budget service takes."""
