"""What Claude answers: whole, as a stream of events, or as an error; the same on all three platforms."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.wire.anthropic_request import SIGNER
from services.providers.adapters.wire.body import decode, decode_object, encode_text, obj, text
from services.providers.domain.classify import request_id_of, vendor_error
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import finish_reason
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
Part = content_pb2.Part
ReasoningPart = content_pb2.ReasoningPart
ToolCallDelta = content_pb2.ToolCallDelta


def message_answer(headers: Headers, body: bytes) -> Answer:
    """The answer in a whole body. Raises AttemptError if it holds an error or no message."""
    said = decode_object(body)
    if said.get("type") == "error" or said.get("error"):
        raise error_of(said, 0, headers)
    content = said.get("content")
    if not isinstance(content, list) and not (content is None and said.get("stop_reason")):
        raise unreadable("The vendor's answer has no content.")
    message = content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT)
    for block in content or ():
        part = _part(obj(block))
        if part is not None:
            message.parts.append(part)
    raw = text(said.get("stop_reason"))
    has_calls = any(part.WhichOneof("kind") == "tool_call" for part in message.parts)
    choice = content_pb2.Choice(
        message=message,
        finish_reason=finish_reason(raw, has_tool_calls=has_calls),
        finish_reason_raw=raw,
    )
    return Answer(
        choices=[choice],
        usage=message_usage(obj(said.get("usage"))),
        vendor_request_id=request_id_of(headers) or text(said.get("id")),
        vendor_model=text(said.get("model")),
    )


def _part(block: Mapping[str, Any]) -> Part | None:
    """One block; None for those of the vendor's own tools, which the content model has no word for."""
    match block.get("type"):
        case "text":
            return Part(text=content_pb2.TextPart(text=text(block.get("text"))))
        case "thinking":
            return Part(
                reasoning=ReasoningPart(
                    text=text(block.get("thinking")),
                    signature=text(block.get("signature")).encode(),
                    provider=SIGNER,
                )
            )
        case "redacted_thinking":
            return Part(reasoning=_redacted(block))
        case "tool_use":
            return Part(
                tool_call=content_pb2.ToolCall(
                    id=text(block.get("id")),
                    name=text(block.get("name")),
                    arguments_json=encode_text(obj(block.get("input"))),
                )
            )
    return None


def _redacted(block: Mapping[str, Any]) -> ReasoningPart:
    return ReasoningPart(signature=text(block.get("data")).encode(), provider=SIGNER, redacted=True)


def message_usage(raw: Mapping[str, Any]) -> usage_pb2.Usage | None:
    """Usage in our meaning: the vendor leaves both kinds of cached tokens out of its input. None: it told none."""
    plain, output = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    if plain is None and output is None:
        return None
    read = count(raw.get("cache_read_input_tokens"))
    written = count(raw.get("cache_creation_input_tokens"))
    by_life = obj(raw.get("cache_creation"))
    long = count(by_life.get("ephemeral_1h_input_tokens"))
    short = count(by_life.get("ephemeral_5m_input_tokens"))
    if written is None and (short is not None or long is not None):
        written = (short or 0) + (long or 0)
    if written is not None:
        short = written - (long or 0) if short is None else short
    return inclusive(
        input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=short,
        cache_write_long_tokens=long,
        reasoning_tokens=count(obj(raw.get("output_tokens_details")).get("thinking_tokens")),
        billed_tool_calls=count(obj(raw.get("server_tool_use")).get("web_search_requests")),
    )


def parse_error_body(status: int, headers: Headers, body: bytes) -> AttemptError:
    """What an answer of an error status means; a body that is no JSON (a proxy's page) says only its status."""
    try:
        said = decode(body)
    except ValueError:
        said = {}
    return error_of(obj(said), status, headers)


def error_of(said: Mapping[str, Any], status: int, headers: Headers) -> AttemptError:
    """What an error object means. `status` 0: inside a stream."""
    error = obj(said.get("error"))
    details = obj(error.get("details"))
    kind = text(error.get("type")) or text(said.get("__type"))
    return vendor_error(
        status,
        headers,
        words=(kind, text(details.get("type")), text(error.get("status"))),
        message=text(error.get("message")) or text(said.get("message")) or text(said.get("error")),
        code=kind,
        request_id=text(said.get("request_id")),
    )


class MessageEvents:
    """Takes the events of one streamed message and gives deltas; where the bytes come from is the caller's matter."""

    __slots__ = ("_blocks", "_calls", "_error", "_headers", "_id", "_model", "_usage", "complete")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._blocks: dict[int, _CallBlock] = {}
        self._calls = 0
        self._error: AttemptError | None = None
        self._id = ""
        self._model = ""
        self._usage: dict[str, Any] = {}
        self.complete = False

    def fail(self, error: AttemptError) -> None:
        """Ends the stream with an error."""
        if not self.complete:
            self._error = error
            self.complete = True

    def take(self, event: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One event; appends what it adds to the answer."""
        match event.get("type"):
            case "content_block_delta":
                self._delta(_index(event), obj(event.get("delta")), deltas)
            case "content_block_start":
                self._start(_index(event), obj(event.get("content_block")), deltas)
            case "content_block_stop":
                block = self._blocks.pop(_index(event), None)
                if block is not None and not block.written:
                    deltas.append(block.arguments(encode_text(block.input)))
            case "message_start":
                message = obj(event.get("message"))
                self._id, self._model = text(message.get("id")), text(message.get("model"))
                self._merge_usage(message.get("usage"))
            case "message_delta":
                self._merge_usage(event.get("usage"))
                raw = text(obj(event.get("delta")).get("stop_reason"))
                if raw:
                    reason = finish_reason(raw, has_tool_calls=self._calls > 0)
                    deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=raw))
            case "message_stop":
                self.complete = True
            case "error":
                self.fail(error_of(event, 0, self._headers))
            case _:
                pass  # pings, and events of tomorrow

    def _start(self, index: int, block: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        match block.get("type"):
            case "tool_use":
                made = _CallBlock(self._calls, obj(block.get("input")))
                self._calls += 1
                self._blocks[index] = made
                call = ToolCallDelta(
                    index=made.number, id=text(block.get("id")), name=text(block.get("name"))
                )
                deltas.append(ChoiceDelta(tool_call=call))
            case "text" if block.get("text"):
                deltas.append(ChoiceDelta(text=text(block.get("text"))))
            case "thinking":
                thought = ReasoningPart(
                    text=text(block.get("thinking")),
                    signature=text(block.get("signature")).encode(),
                    provider=SIGNER,
                )
                if thought.text or thought.signature:
                    deltas.append(ChoiceDelta(reasoning=thought))
            case "redacted_thinking":
                deltas.append(ChoiceDelta(reasoning=_redacted(block)))
            case _:
                pass

    def _delta(self, index: int, delta: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        match delta.get("type"):
            case "text_delta":
                deltas.append(ChoiceDelta(text=text(delta.get("text"))))
            case "input_json_delta":
                block = self._blocks.get(index)
                piece = text(delta.get("partial_json"))
                if block is not None and piece:  # those of the vendor's own tools have no block here
                    deltas.append(block.arguments(piece))
            case "thinking_delta":
                thought = ReasoningPart(text=text(delta.get("thinking")), provider=SIGNER)
                deltas.append(ChoiceDelta(reasoning=thought))
            case "signature_delta":
                proof = ReasoningPart(signature=text(delta.get("signature")).encode(), provider=SIGNER)
                deltas.append(ChoiceDelta(reasoning=proof))
            case _:
                pass

    def _merge_usage(self, usage: object) -> None:
        """Counts are cumulative, and later events may leave some out: what is said replaces what was said."""
        for name, value in obj(usage).items():
            if value is not None:
                self._usage[name] = value

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The latest figures."""
        return message_usage(self._usage)

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        error = self._error
        if error is None and not self.complete:
            error = truncated()
        request_id = request_id_of(self._headers) or self._id
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = error.failure.vendor_request_id or request_id
            raise error
        return Answer([], self.usage_so_far(), vendor_request_id=request_id, vendor_model=self._model)


class _CallBlock:
    """A tool call while its arguments come."""

    __slots__ = ("input", "number", "written")

    def __init__(self, number: int, given: dict[str, Any]) -> None:
        self.number = number
        self.input = given
        """What the block began with: empty, or the whole input if no pieces follow."""
        self.written = False

    def arguments(self, piece: str) -> ChoiceDelta:
        self.written = True
        return ChoiceDelta(tool_call=ToolCallDelta(index=self.number, arguments_json=piece))


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def input_tokens_of(body: bytes) -> int:
    """The count in an answer of the vendor's counter. Raises AttemptError if it has none."""
    said = decode_object(body)
    counted = count(said.get("input_tokens", said.get("inputTokens")))
    if counted is None:
        raise unreadable("The vendor's answer has no count of tokens.")
    return counted
