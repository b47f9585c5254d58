"""Pieces of an answer: cut from a whole one, and kept for counting when the vendor's figure does not come."""

from collections.abc import Iterable
from typing import Final

from services.providers.use_cases.counting import tokens_of
from turnpike.common.v1 import content_pb2

ChoiceDelta = content_pb2.ChoiceDelta

KEPT_BYTES_MAX: Final = 4 << 20
"""Of an answer's text that is kept for counting; beyond it only its length is."""
BYTES_PER_TOKEN: Final = 3
"""Of text that was not kept: below the usual four, so that the count errs upwards."""
MEDIA_BYTES_PER_TOKEN: Final = 750
"""Of pictures and sound a model makes: no vendor tells; a megabyte comes to about 1,400 tokens."""


def as_deltas(choice: content_pb2.Choice) -> list[ChoiceDelta]:
    """The deltas that add up to `choice`."""
    deltas: list[ChoiceDelta] = []
    calls = 0
    for part in choice.message.parts:
        match part.WhichOneof("kind"):
            case "text":
                deltas.append(ChoiceDelta(index=choice.index, text=part.text.text))
            case "reasoning":
                deltas.append(ChoiceDelta(index=choice.index, reasoning=part.reasoning))
            case "refusal":
                deltas.append(ChoiceDelta(index=choice.index, refusal=part.refusal.text))
            case "tool_call":
                call = part.tool_call
                made = content_pb2.ToolCallDelta(
                    index=calls,
                    id=call.id,
                    name=call.name,
                    arguments_json=call.arguments_json,
                    signature=call.signature,
                )
                deltas.append(ChoiceDelta(index=choice.index, tool_call=made))
                calls += 1
            case "image":
                deltas.append(ChoiceDelta(index=choice.index, media=part.image))
            case "audio":
                deltas.append(ChoiceDelta(index=choice.index, media=part.audio))
            case _:
                pass
    if choice.logprobs:
        if not deltas:
            deltas.append(ChoiceDelta(index=choice.index))
        deltas[0].logprobs.extend(choice.logprobs)
    deltas.append(
        ChoiceDelta(
            index=choice.index,
            finish_reason=choice.finish_reason,
            finish_reason_raw=choice.finish_reason_raw,
        )
    )
    return deltas


class Produced:
    """What a model produced so far. Keeps references to the deltas' text; counting is left for when it is needed."""

    __slots__ = ("_bytes_beyond", "_kept_bytes", "_media_bytes", "_texts", "deltas")

    def __init__(self) -> None:
        self.deltas = 0
        """How many came."""
        self._texts: list[str] = []
        self._kept_bytes = 0
        self._bytes_beyond = 0
        self._media_bytes = 0

    @property
    def any(self) -> bool:
        """True if anything came."""
        return self.deltas > 0

    def take(self, deltas: Iterable[ChoiceDelta]) -> None:
        """Remembers deltas."""
        for delta in deltas:
            self.deltas += 1
            text = delta.text
            if text:
                self._keep(text)
                continue
            match delta.WhichOneof("delta"):
                case "reasoning":
                    self._keep(delta.reasoning.text)
                case "tool_call":
                    self._keep(delta.tool_call.name)
                    self._keep(delta.tool_call.arguments_json)
                case "refusal":
                    self._keep(delta.refusal)
                case "media":
                    self._media_bytes += len(delta.media.data)
                case _:
                    pass

    def _keep(self, text: str) -> None:
        if self._kept_bytes < KEPT_BYTES_MAX:
            self._texts.append(text)
            self._kept_bytes += len(text)
        else:
            self._bytes_beyond += len(text)

    def count(self, tokenizer: str, vendor_model: str) -> int:
        """Tokens of all that came, by the tokenizer of the model."""
        counted = tokens_of("".join(self._texts), tokenizer, vendor_model)
        return (
            counted
            + -(-self._bytes_beyond // BYTES_PER_TOKEN)
            + -(-self._media_bytes // MEDIA_BYTES_PER_TOKEN)
        )
