"""Goes on with a broken answer on another model, where the caller or the policy allows it: announced, never spliced.

The other model is shown what was said and asked to go on; its text is behind an event of its own. It is a candidate of
the same plan under a new hold at its own price, for a prompt that has grown by what was said and an output that has
shrunk by it. Only plain text is continued: half a JSON, a tool's call or several answers have no sensible second half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.kernel.tokens import byte_bound
from services.router.domain.fallback import ATTEMPT_S_MIN, Next
from services.router.domain.plan import Decision, Planned, extent_of
from services.router.domain.prices import worst_case
from services.router.records import AttemptRecord
from turnpike.common.v1 import content_pb2 as content

PURPOSE = "continuation"

GO_ON = (
    "Your answer above broke off in the middle. Go on from exactly where it ends, in the same language and form."
    " Repeat none of it and do not mention the interruption."
)

CONTINUED_AFTER = frozenset(
    {
        "VENDOR_STREAM_TRUNCATED",
        "VENDOR_TIMEOUT",
        "VENDOR_OVERLOADED",
        "VENDOR_ERROR",
        "VENDOR_UNREACHABLE",
        "VENDOR_PROTOCOL_ERROR",
    }
)
"""Failures that are the model's or its vendor's; after others nobody goes on."""


@dataclass(slots=True)
class Said:
    """What a stream has said so far."""

    input: content.GenerationInput
    pieces: list[str] = field(default_factory=list)
    deltas: int = 0
    only_text: bool = True

    def add(self, delta: content.ChoiceDelta) -> None:
        """A piece has gone to the caller."""
        self.deltas += 1
        kind = delta.WhichOneof("delta")
        if kind == "text":
            self.pieces.append(delta.text)
        elif kind not in (None, "reasoning"):
            self.only_text = False

    @property
    def input_to_go_on(self) -> content.GenerationInput:
        """The conversation with what was said, and the request to go on."""
        longer = content.GenerationInput()
        longer.CopyFrom(self.input)
        text = "".join(self.pieces)
        longer.messages.add(
            role=content.ROLE_ASSISTANT, parts=[content.Part(text=content.TextPart(text=text))]
        )
        longer.messages.add(role=content.ROLE_USER, parts=[content.Part(text=content.TextPart(text=GO_ON))])
        return longer

    def next(
        self,
        decision: Decision,
        passed_over: Sequence[int],
        attempts: Sequence[AttemptRecord],
        *,
        left_s: float,
    ) -> Next | None:
        """Who goes on after the last attempt; None: nobody, the stream ends broken."""
        text = "".join(self.pieces)
        rules = decision.question.rules
        if attempts[-1].failure not in CONTINUED_AFTER or not self.only_text or not text.strip():
            return None
        if len(attempts) >= rules.attempts_max or left_s < ATTEMPT_S_MIN:
            return None
        more = byte_bound(len(text.encode()) + len(GO_ON), messages=2)
        produced = sum(_produced(attempt) for attempt in attempts)
        spent_nanos = sum(
            attempt.held_nanos if attempt.cost_nanos is None else attempt.cost_nanos for attempt in attempts
        )
        for planned in decision.plan:
            grown = (
                None
                if planned.index in passed_over
                else _grown(decision, planned, more, produced, spent_nanos)
            )
            if grown is not None:
                return Next(grown, purpose=PURPOSE)
        return None


def continuable(given: content.GenerationInput) -> bool:
    """True if an answer to this may be plain text and nothing else."""
    shape = given.output_format.WhichOneof("format")
    several = given.HasField("n") and given.n > 1
    return not given.tools and not several and shape in (None, "text") and not given.HasField("top_logprobs")


def _produced(attempt: AttemptRecord) -> int:
    """Output tokens of an attempt that broke off, as the vendor or the providers service counted them."""
    return attempt.usage.output_tokens if attempt.usage is not None else 0


def _grown(
    decision: Decision, planned: Planned, more: int, produced: int, spent_nanos: int
) -> Planned | None:
    """The candidate for the longer prompt and the shorter rest; None: it does not fit, or nothing is left to say."""
    question, index = decision.question, planned.index
    board = question.board
    bound, cap = planned.input_bound + more, planned.output_cap - produced
    if cap < 1 or bound > board.input_max[index] or bound + cap > board.context_max[index]:
        return None
    worst = worst_case(board.candidates[index].price, extent_of(question.features, bound, cap))
    ceiling = question.rules.cost_nanos_max
    if worst is None or (ceiling is not None and spent_nanos + worst > ceiling):
        return None
    return Planned(index, cap, worst, bound)
