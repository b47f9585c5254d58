"""Holds that grow with the answer: a stream's hold covers its beginning and is extended in time, or the stream ends.

Opt-in by the policy (`output.progressive_tokens`). The cap that is sent is larger than what is held, so what comes is
counted here, generously, and the hold is extended while there is still a margin in it. If the budgets have no room for
more the vendor is stopped, the margin pays for what comes until then, and the stream ends with FINISH_REASON_BUDGET.
"""

import structlog

from services.kernel.errors import TurnpikeError
from services.router.ports import Holds
from services.router.use_cases.attempt import Attempt
from turnpike.common.v1 import content_pb2

MARGIN_TOKENS = 256
"""Held and not given out: what a vendor may say between the extension that was refused and its silence: half a
second at 500 tokens a second. What is beyond it is booked as overage."""

ASCII_BYTES_PER_TOKEN = 3
"""Fewer than prose has (about four), so that the count runs ahead of the vendor's. Other scripts: a byte a token."""

REASON = "BUDGET_EXHAUSTED"

log = structlog.get_logger()


class Meter:
    """Counts what a stream says against its hold."""

    __slots__ = ("_attempt", "_counted", "_extensions", "_held", "_holds", "_step")

    def __init__(self, holds: Holds, attempt: Attempt, held: int) -> None:
        self._holds = holds
        self._attempt = attempt
        self._held = self._step = held
        self._counted = 0
        self._extensions = 0

    @classmethod
    def of(cls, holds: Holds, attempt: Attempt) -> "Meter | None":
        """The meter of an attempt whose hold grows; None: it is held whole."""
        held = attempt.step.planned.held_output
        return None if held is None else cls(holds, attempt, held)

    async def covers(self, delta: content_pb2.ChoiceDelta) -> bool:
        """True while the hold covers what was said and the margin, extended if need be. False: end the stream."""
        self._counted += tokens_at_most(delta)
        cap = self._attempt.step.planned.output_cap
        while self._counted + MARGIN_TOKENS > self._held < cap:
            more = min(self._step, cap - self._held)
            try:
                grant = await self._holds.extend(self._attempt.key, self._extensions + 1, more)
            except (
                TurnpikeError
            ) as refused:  # no room, or nobody there to say so: either way nothing more is paid for
                key = self._attempt.key
                log.info(
                    "hold not extended", request_id=key.request_id, attempt=key.attempt, reason=refused.reason
                )
                return False
            self._extensions += 1
            self._held += more
            self._attempt.record.held_nanos = grant.amount_nanos
        return True


def tokens_at_most(delta: content_pb2.ChoiceDelta) -> int:
    """About how many tokens a delta has at most."""
    kind = delta.WhichOneof("delta")
    text = ""
    if kind == "text":
        text = delta.text
    elif kind == "reasoning":
        text = delta.reasoning.text
    elif kind == "tool_call":
        text = delta.tool_call.arguments_json
    elif kind == "refusal":
        text = delta.refusal
    if text.isascii():
        return max(1, -(-len(text) // ASCII_BYTES_PER_TOKEN))
    return len(text.encode())
