"""One attempt under a hold: its call, its span, what it turned out to cost."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace

from services.chassis import attributes as names
from services.chassis import tracing
from services.kernel.errors import OutcomeUnknown, TurnpikeError
from services.router.domain.fallback import Next, RetryClass
from services.router.ports import (
    AttemptKey,
    Charge,
    Conversation,
    Dispatch,
    Free,
    Grant,
    Settlement,
    SettlementOutcome,
)
from services.router.records import AttemptRecord
from services.router.use_cases.asking import Tools
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.providers.v1 import providers_pb2

Events = AsyncIterator[providers_pb2.DispatchEvent]
Ended = providers_pb2.DispatchEvent | TurnpikeError | None
"""The last event of an attempt, or why there is none."""

CREDIT_EVERY = 128
"""Deltas after which the model may send as many more; half of what it begins with, so that it never waits for us."""

CANCELLED_WAIT_S = 5.0
"""How long a cancelled attempt may take to tell what it cost."""

_RETRY_CLASSES = {
    error_pb2.RETRY_CLASS_SAME_ENDPOINT: RetryClass.SAME_ENDPOINT,
    error_pb2.RETRY_CLASS_OTHER_CREDENTIAL: RetryClass.OTHER_CREDENTIAL,
    error_pb2.RETRY_CLASS_OTHER_MODEL: RetryClass.OTHER_MODEL,
    error_pb2.RETRY_CLASS_LARGER_CONTEXT: RetryClass.LARGER_CONTEXT,
}


# What usage is reported by, of answers that were cut: analytics counts them as waste.
_WHOLE: Mapping[str, str] = {}
_CUT_BY_LENGTH: Mapping[str, str] = {"cut": "length"}
_CUT_BY_BUDGET: Mapping[str, str] = {"cut": "budget"}


class Attempt:
    """An attempt whose hold is granted. It ends by `leave` or `abandon`, and is then settled by its `settlement`."""

    __slots__ = (
        "_abandoned", "_conversation", "_credited", "_listening", "_output_bound", "_tools",
        "deltas", "grant", "had_time", "key", "record", "span", "step",
    )  # fmt: skip

    def __init__(
        self,
        tools: Tools,
        key: AttemptKey,
        step: Next,
        grant: Grant,
        record: AttemptRecord,
        span: tracing.Span,
        output_bound: int,
    ) -> None:
        """`output_bound`: the output cap over all choices, in tokens."""
        self._output_bound = output_bound
        self._tools = tools
        self.key = key
        self.step = step
        self.grant = grant
        self.record = record
        self.span = span
        self.deltas = 0
        self.had_time = True
        """False: its caller's deadline leaves less than the endpoint usually takes."""
        self._credited = 0
        self._abandoned = False
        self._conversation: Conversation | None = None
        self._listening = False

    async def begin(self, dispatch: Dispatch) -> Events:
        """Calls the model. Its events: the last one is `finished` or `failed`; they raise what keeps it from coming."""
        try:
            with self.span.current():
                self._conversation = await self._tools.models.begin(dispatch)
        except TurnpikeError as error:
            return _none(error)
        self._listening = True
        return aiter(self._conversation)

    async def last_of(self, events: Events, deltas: list[content_pb2.ChoiceDelta] | None = None) -> Ended:
        """Hears the attempt to its end: the last event, or why there is none. What comes before goes to `deltas`."""
        ended: Ended = None
        try:
            async for event in events:
                kind = event.WhichOneof("event")
                if kind == "delta":
                    self.delta()
                    if deltas is not None:
                        deltas.append(event.delta)
                elif kind != "started":
                    ended = event
        except TurnpikeError as error:
            ended = error
        self.leave()
        return ended

    def delta(self) -> None:
        """A piece of the answer has come."""
        self.deltas += 1
        if self.deltas == 1:
            self.record.ttft_s = self._tools.clock.monotonic_s() - self.record.begun_s
            self.span.set(names.GEN_AI_TIME_TO_FIRST_CHUNK, self.record.ttft_s)
        conversation = self._conversation
        if conversation is not None and conversation.received >= self._credited + CREDIT_EVERY:
            conversation.grant_credit(conversation.received - self._credited)
            self._credited = conversation.received

    def leave(self) -> None:
        """The last event has come, or none will."""
        self._tools.leases.closed(self.key)
        if self._listening and self._conversation is not None:
            self._listening = False
            self._conversation.close()
        self.record.duration_s = self._tools.clock.monotonic_s() - self.record.begun_s

    # ---- how it ended ------------------------------------------------------------------------------------------------

    def succeeded(self, answer: providers_pb2.AttemptFinished) -> Settlement:
        """Writes an answer down; returns what to charge."""
        record = self.record
        if answer.HasField("usage"):
            record.usage = answer.usage
        if answer.HasField("time_to_first_token") and record.ttft_s is None:
            record.ttft_s = answer.time_to_first_token.ToNanoseconds() / 1e9
        record.endpoint_id = answer.endpoint_id or record.endpoint_id
        record.vendor_request_id = answer.vendor_request_id
        span = self.span
        span.set(names.GEN_AI_RESPONSE_MODEL, answer.vendor_model or None)
        span.set(names.GEN_AI_RESPONSE_ID, answer.vendor_request_id or None)
        if record.usage is not None:
            span.set(names.GEN_AI_USAGE_INPUT_TOKENS, record.usage.input_tokens)
            span.set(names.GEN_AI_USAGE_OUTPUT_TOKENS, record.usage.output_tokens)
        span.end()
        self._tools.observations.succeeded(record)
        return Charge(
            SettlementOutcome.SUCCEEDED,
            record.usage,
            answer.vendor_cost.nanos if answer.HasField("vendor_cost") else None,
            answer.endpoint_id,
            answer.vendor_request_id,
            _CUT_BY_LENGTH if self._is_cut(answer) else _WHOLE,
        )

    def failed(self, ended: Ended) -> tuple[Settlement, RetryClass, float | None]:
        """Writes a failure down; returns what to charge, what may help, and how long to wait for that at least."""
        record = self.record
        failed = ended.failed if isinstance(ended, providers_pb2.DispatchEvent) else None
        retry_class, retry_after_s = RetryClass.OTHER_MODEL, None
        if failed is not None:
            record.failure = _reason(failed.reason)
            record.message = failed.message
            record.endpoint_id = failed.endpoint_id or record.endpoint_id
            record.vendor_request_id = failed.vendor_request_id
            record.usage = failed.usage if failed.HasField("usage") else None
            retry_class = _RETRY_CLASSES.get(failed.retry_class, RetryClass.NEVER)
            if failed.HasField("retry_after"):
                retry_after_s = failed.retry_after.ToNanoseconds() / 1e9
        else:
            error = ended if isinstance(ended, TurnpikeError) else OutcomeUnknown("providers")
            record.failure, record.message = error.reason, error.message
        self.span.attributes[names.ERROR_TYPE] = record.failure
        self.span.error_description = record.message
        self.span.end()
        if failed is not None and failed.phase == "total" and (self.deltas or not self.had_time):
            self._tools.observations.abandoned(record.endpoint_id)  # it was the caller who had no more time
        else:
            self._tools.observations.failed(record)
        outcome = SettlementOutcome.INTERRUPTED if self.deltas else SettlementOutcome.FAILED
        return self._charge(failed, outcome), retry_class, retry_after_s

    def abandon(self, why: str) -> bool:
        """Nobody waits any more: asks the model to stop. False if it was not called yet: free the hold."""
        if self._abandoned:
            return True  # whoever waited for its end was interrupted
        record = self.record
        record.failure, record.message = "CANCELLED", why
        self.span.attributes[names.ERROR_TYPE] = record.failure
        self.span.error_description = why
        self.span.end()
        self._tools.observations.abandoned(record.endpoint_id)
        if self._conversation is None:
            self._tools.leases.closed(self.key)
            return False
        self._conversation.cancel(why)
        self._abandoned = True
        return True

    async def stop(self, reason: str, why: str) -> Settlement:
        """Stops a model in the middle of its answer, for a reason of ours; returns what to charge."""
        self.abandon(why)
        settlement = await self.wind_up()
        self.record.failure = reason
        return (
            replace(settlement, dimensions=_CUT_BY_BUDGET) if isinstance(settlement, Charge) else settlement
        )

    async def wind_up(self) -> Settlement:
        """Waits for the last event of an abandoned attempt, unless it has come; returns what to charge."""
        conversation = self._conversation
        assert conversation is not None
        with suppress(TimeoutError, TurnpikeError):
            async with asyncio.timeout(CANCELLED_WAIT_S):
                async for _ in conversation:
                    pass
        last = conversation.last
        self.leave()
        record = self.record
        if last is not None and last.HasField("finished"):
            answer = last.finished
            record.usage = answer.usage if answer.HasField("usage") else None
            record.vendor_request_id = answer.vendor_request_id
            return Charge(
                SettlementOutcome.CANCELLED,
                record.usage,
                answer.vendor_cost.nanos if answer.HasField("vendor_cost") else None,
                answer.endpoint_id or record.endpoint_id,
                answer.vendor_request_id,
            )
        failed = last.failed if last is not None and last.HasField("failed") else None
        if failed is not None and failed.HasField("usage"):
            record.usage = failed.usage
        return self._charge(failed, SettlementOutcome.CANCELLED)

    def _is_cut(self, answer: providers_pb2.AttemptFinished) -> bool:
        """Whether the answer ended at its cap: a whole one says so, a stream's length does."""
        told = {choice.finish_reason for choice in answer.choices}
        if content_pb2.FINISH_REASON_LENGTH in told:
            return True
        if told and content_pb2.FINISH_REASON_UNSPECIFIED not in told:
            return False
        usage = self.record.usage
        return usage is not None and 0 < self._output_bound <= usage.output_tokens

    def _charge(self, failed: providers_pb2.AttemptFailed | None, outcome: SettlementOutcome) -> Settlement:
        """By the table of outcomes; without a word from the providers service: all of it, unconfirmed."""
        if failed is None:
            if self._conversation is None or not self._conversation.sent:
                return Free("nothing was sent")
            return Charge(SettlementOutcome.UNKNOWN, endpoint_id=self.record.endpoint_id)
        if failed.charge == providers_pb2.CHARGE_RULE_NOTHING:
            return Free(_reason(failed.reason).lower())
        known = failed.charge == providers_pb2.CHARGE_RULE_USAGE
        return Charge(
            outcome if known else SettlementOutcome.UNKNOWN,
            failed.usage if known and failed.HasField("usage") else None,
            failed.vendor_cost.nanos if known and failed.HasField("vendor_cost") else None,
            failed.endpoint_id or self.record.endpoint_id,
            failed.vendor_request_id,
        )


def answer_of(ended: Ended) -> providers_pb2.AttemptFinished | None:
    """The answer that an attempt ended with; None: it failed."""
    if isinstance(ended, providers_pb2.DispatchEvent) and ended.HasField("finished"):
        return ended.finished
    return None


async def _none(error: TurnpikeError) -> Events:
    """The events of a call that was never made."""
    raise error
    yield  # type: ignore[unreachable]  # makes it an iterator


def _reason(number: int) -> str:
    try:
        return error_pb2.ErrorReason.Name(error_pb2.ErrorReason.ValueType(number)).removeprefix(
            "ERROR_REASON_"
        )
    except ValueError:
        return f"REASON_{number}"
