"""Anthropic's Messages, at Anthropic and, in its raw form, on Google's Vertex AI."""

from dataclasses import dataclass
from typing import Any, Final

from services.providers.adapters.wire.anthropic_answer import (
    MessageEvents,
    input_tokens_of,
    message_answer,
    parse_error_body,
)
from services.providers.adapters.wire.anthropic_request import messages_body
from services.providers.adapters.wire.body import decode, encode, obj
from services.providers.adapters.wire.sse import Event, LineTooLong, SseDecoder
from services.providers.domain.failure import AttemptError, unreadable
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser
from turnpike.common.v1 import content_pb2, usage_pb2

VERSION: Final = "2023-06-01"
FILES_BETA: Final = "files-api-2025-04-14"
"""Blocks that name uploaded files are refused without it."""

ChoiceDelta = content_pb2.ChoiceDelta


class MessageStream:
    """Parser of one stream of server-sent events. Ends at `message_stop`."""

    __slots__ = ("_message", "_sse")

    def __init__(self, headers: Headers) -> None:
        self._message = MessageEvents(headers)
        self._sse = SseDecoder()

    @property
    def complete(self) -> bool:
        """True once `message_stop` or an error was read."""
        return self._message.complete

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        if self._message.complete:
            return deltas
        try:
            events = self._sse.feed(data)
        except LineTooLong as error:
            self._message.fail(unreadable(f"{error}."))
            return deltas
        self._take_all(events, deltas)
        return deltas

    def _take_all(self, events: list[Event], deltas: list[ChoiceDelta]) -> None:
        for event in events:
            if self._message.complete:
                return
            if event.data.strip() == b"[DONE]":  # of a proxy
                continue
            try:
                said = decode(event.data)
            except ValueError:
                self._message.fail(unreadable("An event of the vendor's stream is not JSON."))
                return
            self._message.take(obj(said), deltas)

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        if not self._message.complete:
            self._take_all(self._sse.flush(), [])
        return self._message.close()

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return self._message.usage_so_far()


class _Messages:
    """What is the same wherever Claude speaks its own format over plain HTTP."""

    __slots__ = ()

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        return message_answer(headers, body)

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return MessageStream(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def parse_count(self, headers: Headers, body: bytes) -> int:
        """The vendor's count of a prompt."""
        return input_tokens_of(body)


@dataclass(frozen=True, slots=True)
class AnthropicMessages(_Messages):
    """Messages at Anthropic itself, and at servers that speak the same."""

    name: str = "anthropic_messages"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped, files = messages_body(call, profile)
        body = {"model": call.vendor_model, **body}
        if call.stream:
            body["stream"] = True
        return HttpRequest("/messages", encode(body), _headers(files), dropped=dropped)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for the vendor's count of `call`'s prompt."""
        body, dropped, files = messages_body(call, profile)
        return HttpRequest(
            "/messages/count_tokens",
            encode({"model": call.vendor_model, **countable(body)}),
            _headers(files),
            dropped=dropped,
        )


@dataclass(frozen=True, slots=True)
class AnthropicOnVertex(_Messages):
    """Claude on Vertex: the same body with the version in it and the model in the path."""

    name: str = "vertex_anthropic"
    version: str = "vertex-2023-10-16"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped, _ = messages_body(call, profile)
        body = {"anthropic_version": self.version, **body}
        if call.stream:
            body["stream"] = True
        method = "streamRawPredict" if call.stream else "rawPredict"
        path = f"/publishers/anthropic/models/{call.vendor_model}:{method}"
        return HttpRequest(path, encode(body), dropped=dropped)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for the vendor's count: a model of its own that counts for all."""
        body, dropped, _ = messages_body(call, profile)
        body = {"anthropic_version": self.version, "model": call.vendor_model, **countable(body)}
        path = "/publishers/anthropic/models/count-tokens:rawPredict"
        return HttpRequest(path, encode(body), dropped=dropped)


def countable(body: dict[str, Any]) -> dict[str, Any]:
    """The part of a body that a counter takes."""
    names = ("messages", "system", "tools", "tool_choice", "thinking", "output_config")
    return {name: body[name] for name in names if name in body}


def _headers(files: bool) -> dict[str, str]:
    headers = {"content-type": "application/json", "anthropic-version": VERSION}
    if files:
        headers["anthropic-beta"] = FILES_BETA
    return headers


FORMATS = (AnthropicMessages(), AnthropicOnVertex())
