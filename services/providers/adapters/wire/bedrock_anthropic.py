"""Claude on Amazon Bedrock by InvokeModel: Anthropic's own body, and its events inside AWS's event stream.

What answers in another family's body is read as well (bedrock_invoke): the endpoint is one for all of them.
"""

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import quote

from services.providers.adapters.wire.anthropic import countable
from services.providers.adapters.wire.anthropic_answer import (
    MessageEvents,
    input_tokens_of,
    message_answer,
)
from services.providers.adapters.wire.anthropic_request import messages_body
from services.providers.adapters.wire.aws_event_stream import BrokenFrame, Frame, FrameDecoder
from services.providers.adapters.wire.bedrock_errors import exception_of, parse_error_body
from services.providers.adapters.wire.bedrock_invoke import (
    OtherFamily,
    other_family_answer,
    other_family_events,
)
from services.providers.adapters.wire.body import base64_text, decode, encode, obj, text
from services.providers.domain.failure import AttemptError, unreadable
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta


class InvokeStream:
    """Parser of one stream: `chunk` frames, each with one of the model's own events in base64."""

    __slots__ = ("_begun", "_frames", "_headers", "_message")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._frames = FrameDecoder()
        self._begun = False
        self._message: MessageEvents | OtherFamily = MessageEvents(headers)
        """Claude's, unless the first event is another family's."""

    @property
    def complete(self) -> bool:
        """True once the event that ends the stream, or an error, was read."""
        return self._message.complete

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        try:
            for frame in self._frames.feed(data):
                if self._message.complete:
                    break
                self._take(frame, deltas)
        except BrokenFrame as broken:
            self._message.fail(unreadable(f"The vendor's stream is broken: {broken}."))
        return deltas

    def _take(self, frame: Frame, deltas: list[ChoiceDelta]) -> None:
        if frame.headers.get(":message-type") in ("exception", "error"):
            self._message.fail(exception_of(frame, self._headers))
            return
        try:
            event = obj(decode(base64.b64decode(text(obj(decode(frame.payload)).get("bytes")))))
        except (ValueError, binascii.Error):
            self._message.fail(unreadable("A frame of the vendor's stream is not JSON."))
            return
        if not self._begun:
            other = other_family_events(event, self._headers)
            self._begun = other is not None or "type" in event
            self._message = other or self._message
        self._message.take(event, deltas)

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        return self._message.close()

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return self._message.usage_so_far()


@dataclass(frozen=True, slots=True)
class AnthropicOnBedrock:
    """Claude by InvokeModel."""

    name: str = "bedrock_anthropic"
    version: str = "bedrock-2023-05-31"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped, _ = messages_body(call, profile)
        method = "invoke-with-response-stream" if call.stream else "invoke"
        path = f"/model/{quote(call.vendor_model, safe='')}/{method}"
        return HttpRequest(path, encode({"anthropic_version": self.version, **body}), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`, which may also be of another family that only InvokeModel reaches."""
        other = other_family_answer(headers, body)
        return message_answer(headers, body) if other is None else other

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return InvokeStream(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for the vendor's count of `call`'s prompt."""
        body, dropped, _ = messages_body(call, profile)
        # The counter wants a body that could be invoked, cap included.
        counted = {
            "anthropic_version": self.version,
            "max_tokens": body["max_tokens"],
            **countable(body),
        }
        path = f"/model/{quote(call.vendor_model, safe='')}/count-tokens"
        wrapped = {"input": {"invokeModel": {"body": base64_text(encode(counted))}}}
        return HttpRequest(path, encode(wrapped), dropped=dropped)

    def parse_count(self, headers: Headers, body: bytes) -> int:
        """The vendor's count of a prompt."""
        return input_tokens_of(body)


FORMATS = (AnthropicOnBedrock(),)
