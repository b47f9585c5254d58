"""What came back: the text, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import router_pb2

NANOS_PER_UNIT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `choices` and `outcome` are the contract's own messages, with everything in them."""

    choices: Sequence[content_pb2.Choice]
    outcome: router_pb2.Outcome

    @property
    def text(self) -> str:
        """The text of the first choice; reasoning, tool calls and media are in `choices`."""
        return text_of(self.choices[0].message) if self.choices else ""

    @property
    def model(self) -> str:
        """Who answered, as "provider/model"."""
        return self.outcome.model

    @property
    def cost_usd(self) -> Decimal | None:
        """What all attempts together cost, to the billionth of a dollar; None if it is not known yet."""
        return cost_usd(self.outcome)


def text_of(message: content_pb2.Message) -> str:
    """Return the text parts of a message, joined."""
    return "".join(part.text.text for part in message.parts if part.HasField("text"))


def cost_usd(outcome: router_pb2.Outcome) -> Decimal | None:
    """Return the cost of an outcome in US dollars, exactly, or None if it has none."""
    return Decimal(outcome.cost.nanos) / NANOS_PER_UNIT if outcome.HasField("cost") else None
