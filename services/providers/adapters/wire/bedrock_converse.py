"""Amazon Bedrock's Converse: one shape for all of its models, streamed in AWS's binary frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.providers.adapters.wire.anthropic_answer import input_tokens_of
from services.providers.adapters.wire.aws_event_stream import BrokenFrame, Frame, FrameDecoder
from services.providers.adapters.wire.bedrock_embeddings import embed_request, texts_max, vectors
from services.providers.adapters.wire.bedrock_errors import exception_of, parse_error_body
from services.providers.adapters.wire.bedrock_request import SIGNER, converse_body
from services.providers.adapters.wire.body import arr, decode, decode_object, encode, encode_text, obj, text
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import finish_reason
from services.providers.domain.profile import ModelProfile
from services.providers.domain.usage import by_total, count, inclusive
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser, Vectors
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
ReasoningPart = content_pb2.ReasoningPart
ToolCallDelta = content_pb2.ToolCallDelta


def converse_usage(raw: Mapping[str, Any]) -> usage_pb2.Usage | None:
    """Usage in our meaning: the vendor leaves cached tokens out of its input. None: it told none."""
    plain, output = count(raw.get("inputTokens")), count(raw.get("outputTokens"))
    if plain is None and output is None:
        return None
    read = count(raw.get("cacheReadInputTokens", raw.get("cacheReadInputTokenCount")))
    written = count(raw.get("cacheWriteInputTokens", raw.get("cacheWriteInputTokenCount")))
    by_life = [obj(detail) for detail in arr(raw.get("cacheDetails"))]
    hours = [count(detail.get("inputTokens")) or 0 for detail in by_life if detail.get("ttl") == "1h"]
    long = sum(hours) if hours else None
    whole = None if plain is None else plain + (read or 0) + (written or 0)
    whole, output = by_total(whole, output, count(raw.get("totalTokens")))
    if written is not None and long is not None:
        long = min(long, written)
        written -= long
    return inclusive(
        input_tokens=whole,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_long_tokens=long,
    )


def _part(block: Mapping[str, Any]) -> content_pb2.Part | None:
    if isinstance(block.get("text"), str):
        return content_pb2.Part(text=content_pb2.TextPart(text=block["text"]))
    if isinstance(block.get("toolUse"), dict):
        use = block["toolUse"]
        return content_pb2.Part(
            tool_call=content_pb2.ToolCall(
                id=text(use.get("toolUseId")),
                name=text(use.get("name")),
                arguments_json=encode_text(obj(use.get("input"))),
            )
        )
    if isinstance(block.get("reasoningContent"), dict):
        return content_pb2.Part(reasoning=_reasoning(block["reasoningContent"]))
    if isinstance(block.get("citationsContent"), dict):
        cited = "".join(
            text(obj(piece).get("text")) for piece in arr(block["citationsContent"].get("content"))
        )
        return content_pb2.Part(text=content_pb2.TextPart(text=cited)) if cited else None
    return None


def _reasoning(content: Mapping[str, Any]) -> ReasoningPart:
    """Reasoning whole (`reasoningText`) or as a piece of a stream (`text`, `signature`)."""
    redacted = content.get("redactedContent")
    if isinstance(redacted, str):
        return ReasoningPart(signature=redacted.encode(), provider=SIGNER, redacted=True)
    shown = content.get("reasoningText")
    shown = shown if isinstance(shown, dict) else content
    return ReasoningPart(
        text=text(shown.get("text")),
        signature=text(shown.get("signature")).encode(),
        provider=SIGNER,
    )


def converse_answer(headers: Headers, said: Mapping[str, Any]) -> Answer:
    """The answer in a whole object. Raises AttemptError if it holds no message."""
    message = obj(obj(said.get("output")).get("message"))
    if not isinstance(message.get("content"), list):
        raise unreadable("The vendor's answer has no content.")
    made = content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT)
    for block in message["content"]:
        part = _part(obj(block))
        if part is not None:
            made.parts.append(part)
    raw = text(said.get("stopReason"))
    has_calls = any(part.WhichOneof("kind") == "tool_call" for part in made.parts)
    choice = content_pb2.Choice(
        message=made, finish_reason=finish_reason(raw, has_tool_calls=has_calls), finish_reason_raw=raw
    )
    return Answer(
        [choice],
        converse_usage(obj(said.get("usage"))),
        vendor_request_id=request_id_of(headers),
    )


class ConverseStream:
    """Parser of one stream. It ends at `metadata`, which has the usage; `messageStop` comes before."""

    __slots__ = (
        "_calls",
        "_error",
        "_frames",
        "_headers",
        "_stopped",
        "_unwritten",
        "_usage",
        "complete",
    )

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._frames = FrameDecoder()
        self._calls: dict[int, int] = {}
        """The vendor's block index of a call → our number of it."""
        self._unwritten: set[int] = set()
        self._usage: Mapping[str, Any] = {}
        self._stopped = False
        self._error: AttemptError | None = None
        self.complete = False

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        try:
            for frame in self._frames.feed(data):
                if self.complete:
                    break
                self.take(frame, deltas)
        except BrokenFrame as broken:
            self.fail(unreadable(f"The vendor's stream is broken: {broken}."))
        return deltas

    def fail(self, error: AttemptError) -> None:
        """Ends the stream with an error."""
        if not self.complete:
            self._error = error
            self.complete = True

    def take(self, frame: Frame, deltas: list[ChoiceDelta]) -> None:
        """One frame; appends what it adds."""
        if frame.headers.get(":message-type") in ("exception", "error"):
            self.fail(exception_of(frame, self._headers))
            return
        try:
            event = obj(decode(frame.payload))
        except ValueError:
            self.fail(unreadable("A frame of the vendor's stream is not JSON."))
            return
        index = event.get("contentBlockIndex")
        index = index if isinstance(index, int) else 0
        match frame.headers.get(":event-type"):
            case "contentBlockDelta":
                self._delta(index, obj(event.get("delta")), deltas)
            case "contentBlockStart":
                use = obj(obj(event.get("start")).get("toolUse"))
                if use:
                    self._start(index, use, deltas)
            case "contentBlockStop":
                if index in self._unwritten:
                    self._unwritten.discard(index)
                    empty = ToolCallDelta(index=self._calls[index], arguments_json="{}")
                    deltas.append(ChoiceDelta(tool_call=empty))
            case "messageStop":
                self._stopped = True
                raw = text(event.get("stopReason"))
                reason = finish_reason(raw, has_tool_calls=bool(self._calls))
                deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=raw))
            case "metadata":
                self._usage = obj(event.get("usage"))
                self.complete = self._stopped
            case _:
                pass

    def _start(self, index: int, use: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        number = self._calls[index] = len(self._calls)
        self._unwritten.add(index)
        call = ToolCallDelta(index=number, id=text(use.get("toolUseId")), name=text(use.get("name")))
        deltas.append(ChoiceDelta(tool_call=call))

    def _delta(self, index: int, delta: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        if isinstance(delta.get("text"), str):
            if delta["text"]:
                deltas.append(ChoiceDelta(text=delta["text"]))
        elif isinstance(delta.get("toolUse"), dict):
            piece = text(delta["toolUse"].get("input"))
            if piece and index in self._calls:
                self._unwritten.discard(index)
                call = ToolCallDelta(index=self._calls[index], arguments_json=piece)
                deltas.append(ChoiceDelta(tool_call=call))
        elif isinstance(delta.get("reasoningContent"), dict):
            deltas.append(ChoiceDelta(reasoning=_reasoning(delta["reasoningContent"])))

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError. One that stopped without its usage is whole, and its usage unknown."""
        error = self._error
        if error is None and not self._stopped:
            error = truncated()
        request_id = request_id_of(self._headers)
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = error.failure.vendor_request_id or request_id
            raise error
        return Answer([], self.usage_so_far(), vendor_request_id=request_id)

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures; it gives them at the end alone."""
        return converse_usage(self._usage)


@dataclass(frozen=True, slots=True)
class BedrockConverse:
    """Converse and ConverseStream."""

    name: str = "bedrock_converse"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = converse_body(call, profile)
        method = "converse-stream" if call.stream else "converse"
        return HttpRequest(
            f"/model/{quote(call.vendor_model, safe='')}/{method}", encode(body), dropped=dropped
        )

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        return converse_answer(headers, decode_object(body))

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ConverseStream(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for the vendor's count of `call`'s prompt."""
        body, dropped = converse_body(call, profile)
        counted = {name: body[name] for name in ("messages", "system", "toolConfig") if name in body}
        path = f"/model/{quote(call.vendor_model, safe='')}/count-tokens"
        return HttpRequest(path, encode({"input": {"converse": counted}}), dropped=dropped)

    def parse_count(self, headers: Headers, body: bytes) -> int:
        """The vendor's count of a prompt."""
        return input_tokens_of(body)

    def texts_max(self, vendor_model: str) -> int:
        """How many texts one request for vectors may hold."""
        return texts_max(vendor_model)

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for vectors."""
        return embed_request(vendor_model, texts, dimensions)

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in `body`."""
        return vectors(headers, body)


FORMATS = (BedrockConverse(),)
