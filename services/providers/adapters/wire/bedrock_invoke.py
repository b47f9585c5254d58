"""Answers of InvokeModel in other families' own bodies, whole and streamed.

Nova speaks Converse, several families chat completions, and Titan, Llama, Mistral, Command, Jurassic and Claude of old
each a completion of their own. Usage is in headers or, at a stream's end, in the platform's own metrics.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from services.providers.adapters.wire.aws_event_stream import Frame
from services.providers.adapters.wire.bedrock_converse import ConverseStream, converse_answer
from services.providers.adapters.wire.body import arr, decode_object, encode, index_or, obj, text
from services.providers.adapters.wire.openai_chat_response import chat_answer
from services.providers.adapters.wire.openai_chat_stream import ChatStream
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, truncated
from services.providers.domain.finish import finish_reason
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta

METRICS: Final = "amazon-bedrock-invocationMetrics"
"""The platform's own field, in the last event of every stream."""

_CONVERSE_EVENTS: Final = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)
_TITAN_FINISHES: Final = {"FINISH": "stop", "LENGTH": "length", "CONTENT_FILTERED": "content_filtered"}
_TEXT_NAMES: Final = ("text", "outputText", "generation", "completion")
_END_NAMES: Final = ("stop_reason", "finish_reason", "completionReason")


def other_family_answer(headers: Headers, body: bytes) -> Answer | None:
    """The answer of a family other than Claude; None if the body is none. Raises AttemptError for a broken one."""
    said = decode_object(body)
    if isinstance(obj(said.get("output")).get("message"), dict):
        return converse_answer(headers, said)
    told = _told(headers, said)
    if said.get("choices"):
        answer = chat_answer(headers, encode(_as_chat(said)), Dialect(), "bedrock")
        answer.usage = answer.usage or told
        return answer
    choices = []
    for number, completion in enumerate(_completions(said)):
        words, raw = _words(completion)
        choice = content_pb2.Choice(
            index=number, finish_reason=finish_reason(raw or None), finish_reason_raw=raw
        )
        choice.message.role = content_pb2.Role.ROLE_ASSISTANT
        choice.message.parts.add().text.text = words
        choices.append(choice)
    if not choices:
        return None
    return Answer(choices, told, vendor_request_id=request_id_of(headers))


def _completions(said: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The completions in a whole body, each with its text and the reason it ended."""
    for name in ("outputs", "results", "generations"):
        listed = [obj(entry) for entry in arr(said.get(name))]
        if listed and any(isinstance(entry.get(key), str) for entry in listed for key in _TEXT_NAMES):
            return listed
    jurassic = [obj(entry) for entry in arr(said.get("completions"))]
    if jurassic:
        return [
            {
                "text": obj(entry.get("data")).get("text"),
                "finish_reason": obj(entry.get("finishReason")).get("reason"),
            }
            for entry in jurassic
        ]
    return [said] if any(isinstance(said.get(name), str) for name in _TEXT_NAMES) else []


def _words(completion: Mapping[str, Any]) -> tuple[str, str]:
    """The text of a completion or of a piece of one, and why it ended; empty while it has not."""
    words = next((text(completion[name]) for name in _TEXT_NAMES if name in completion), "")
    raw = next((text(completion[name]) for name in _END_NAMES if completion.get(name)), "")
    return words, _TITAN_FINISHES.get(raw, raw)


def _told(headers: Headers, said: Mapping[str, Any]) -> usage_pb2.Usage | None:
    read = _header_count(headers, "x-amzn-bedrock-input-token-count")
    output = _header_count(headers, "x-amzn-bedrock-output-token-count")
    if read is None:
        read = count(said.get("prompt_token_count", said.get("inputTextTokenCount")))
    if output is None:
        output = count(said.get("generation_token_count"))
    return None if read is None and output is None else inclusive(input_tokens=read, output_tokens=output)


def _header_count(headers: Headers, name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdigit() else None


def _as_chat(said: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion or a chunk with OpenAI's names: Mistral and DeepSeek say `stop_reason` here."""
    choices = [
        {**choice, "finish_reason": choice.get("finish_reason") or choice.get("stop_reason")}
        for choice in map(obj, arr(said.get("choices")))
    ]
    made = {**said, "choices": choices}
    metrics = obj(said.get(METRICS))
    if metrics and not said.get("usage"):
        made["usage"] = {
            "prompt_tokens": metrics.get("inputTokenCount"),
            "completion_tokens": metrics.get("outputTokenCount"),
        }
    return made


class ConverseEvents:
    """Nova: Converse's events, each in an object under its name."""

    __slots__ = ("_stream",)

    def __init__(self, headers: Headers) -> None:
        self._stream = ConverseStream(headers)

    @property
    def complete(self) -> bool:
        """True once all was read."""
        return self._stream.complete

    def take(self, event: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One event; appends what it adds."""
        for kind in event.keys() & _CONVERSE_EVENTS:
            self._stream.take(Frame({":event-type": kind}, encode(event[kind])), deltas)

    def fail(self, error: AttemptError) -> None:
        """Ends the stream with an error."""
        self._stream.fail(error)

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        return self._stream.close()

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return self._stream.usage_so_far()


class ChatChunks:
    """Families that stream chunks of chat completions."""

    __slots__ = ("_error", "_stream")

    def __init__(self, headers: Headers) -> None:
        self._stream = ChatStream(headers, Dialect(), "bedrock")
        self._error: AttemptError | None = None

    @property
    def complete(self) -> bool:
        """True once all was read."""
        return self._error is not None or self._stream.complete

    def take(self, event: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One chunk; appends what it adds."""
        deltas += self._stream.feed(b"data: " + encode(_as_chat(event)) + b"\n\n")
        if METRICS in event:
            self._stream.feed(b"data: [DONE]\n\n")

    def fail(self, error: AttemptError) -> None:
        """Ends the stream with an error."""
        self._error = self._error or error

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        if self._error is not None:
            self._error.failure.usage = self.usage_so_far()
            raise self._error
        return self._stream.close()

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return self._stream.usage_so_far()


class CompletionPieces:
    """Families that stream a completion of their own: text, and in the last piece why it ended."""

    __slots__ = ("_error", "_finished", "_headers", "_metrics", "_seen", "complete")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._metrics: Mapping[str, Any] = {}
        self._error: AttemptError | None = None
        self.complete = False

    def take(self, event: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One piece; appends what it adds."""
        for number, piece in enumerate(_pieces(event)):
            index = index_or(piece.get("index"), number)
            words, raw = _words(piece)
            if words:
                self._seen.add(index)
                deltas.append(ChoiceDelta(index=index, text=words))
            if raw:
                # Command ends all of its generations by one word.
                for ended in ({index} if "index" in piece else self._seen or {0}) - self._finished:
                    self._finished.add(ended)
                    deltas.append(
                        ChoiceDelta(index=ended, finish_reason=finish_reason(raw), finish_reason_raw=raw)
                    )
        if METRICS in event:
            self._metrics = obj(event[METRICS])
            self.complete = True

    def fail(self, error: AttemptError) -> None:
        """Ends the stream with an error."""
        if not self.complete:
            self._error, self.complete = error, True

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        error = self._error
        if error is None and not self._finished:
            error = truncated()
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = request_id_of(self._headers)
            raise error
        return Answer([], self.usage_so_far(), vendor_request_id=request_id_of(self._headers))

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The platform's figures; it gives them at the end alone."""
        read, output = (
            count(self._metrics.get("inputTokenCount")),
            count(self._metrics.get("outputTokenCount")),
        )
        return None if read is None and output is None else inclusive(input_tokens=read, output_tokens=output)


def _pieces(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    outputs = arr(event.get("outputs"))  # Mistral
    yield from (obj(output) for output in outputs) if outputs else (event,)


OtherFamily = ConverseEvents | ChatChunks | CompletionPieces


def other_family_events(event: Mapping[str, Any], headers: Headers) -> OtherFamily | None:
    """Who reads a stream that begins with `event`; None if it is Claude's, or nobody's that is known."""
    if event.keys() & _CONVERSE_EVENTS:
        return ConverseEvents(headers)
    if "choices" in event:
        return ChatChunks(headers)
    if "type" not in event and ("outputs" in event or event.keys() & {*_TEXT_NAMES, *_END_NAMES}):
        return CompletionPieces(headers)
    return None
