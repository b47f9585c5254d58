"""Cohere's chat and embeddings, version 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.providers.adapters.wire.body import (
    arr,
    decode,
    decode_object,
    encode,
    encode_text,
    numbers,
    obj,
    text,
)
from services.providers.adapters.wire.cohere_request import SIGNER, chat_body
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.adapters.wire.sse import Event, LineTooLong, SseDecoder
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import finish_reason
from services.providers.domain.profile import ModelProfile
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser, Vectors
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
ReasoningPart = content_pb2.ReasoningPart
ToolCallDelta = content_pb2.ToolCallDelta

EMBED_TEXTS_MAX = 96
"""The vendor takes no more in one request."""


def chat_usage(raw: Mapping[str, Any]) -> usage_pb2.Usage | None:
    """Usage in our meaning: what the model read and wrote, and how much of it is not billed. None: it told none.

    The vendor wraps prompts into its own, with the tools written out, and bills what is the caller's.
    """
    tokens, billed = obj(raw.get("tokens")), obj(raw.get("billed_units"))
    images = count(tokens.get("image_tokens"))
    read = count(tokens.get("input_tokens"))
    if read is not None:
        read += images or 0  # told apart here; billed_units has both in one
    input_tokens, unbilled_input = _with_unbilled(read, count(billed.get("input_tokens")))
    output_tokens, unbilled_output = _with_unbilled(
        count(tokens.get("output_tokens")), count(billed.get("output_tokens"))
    )
    if input_tokens is None and output_tokens is None:
        return None
    return inclusive(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=count(raw.get("cached_tokens")),
        reasoning_tokens=count(tokens.get("reasoning_tokens")),
        input_image_tokens=images,
        unbilled_input_tokens=unbilled_input,
        unbilled_output_tokens=unbilled_output,
    )


def _with_unbilled(real: int | None, billed: int | None) -> tuple[int | None, int | None]:
    """How many there were, and how many of them are not billed. What is billed was there."""
    if real is None or billed is None:
        return (billed if real is None else real), None
    return max(real, billed), max(real - billed, 0)


def _add_calls(message: content_pb2.Message, calls: object) -> None:
    for call in arr(calls):
        function = obj(obj(call).get("function"))
        message.parts.add().tool_call.CopyFrom(
            content_pb2.ToolCall(
                id=text(obj(call).get("id")),
                name=text(function.get("name")),
                arguments_json=_arguments(function.get("arguments")) or "{}",
            )
        )


def _arguments(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode_text(value)


def _logprobs(entries: object) -> list[content_pb2.TokenLogprob]:
    made = []
    for entry in arr(entries):
        values = arr(obj(entry).get("logprobs"))
        value = next((number for number in values if isinstance(number, int | float)), 0.0)
        made.append(content_pb2.TokenLogprob(token=text(obj(entry).get("text")), logprob=value))
    return made


class ChatEvents:
    """Parser of one stream. The vendor ends it with `message-end`; a `[DONE]` follows and says nothing."""

    __slots__ = ("_calls", "_error", "_headers", "_id", "_sse", "_unwritten", "_usage", "complete")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._sse = SseDecoder()
        self._calls: dict[int, int] = {}
        """The vendor's index of a call → our number of it."""
        self._unwritten: set[int] = set()
        self._usage: Mapping[str, Any] = {}
        self._id = ""
        self._error: AttemptError | None = None
        self.complete = False

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        if self.complete:
            return deltas
        try:
            events = self._sse.feed(data)
        except LineTooLong as error:
            self._fail(unreadable(f"{error}."))
            return deltas
        self._take_all(events, deltas)
        return deltas

    def _fail(self, error: AttemptError) -> None:
        self._error = error
        self.complete = True

    def _take_all(self, events: list[Event], deltas: list[ChoiceDelta]) -> None:
        for event in events:
            if self.complete:
                return
            if event.data.strip() == b"[DONE]":
                continue
            try:
                said = obj(decode(event.data))
            except ValueError:
                self._fail(unreadable("An event of the vendor's stream is not JSON."))
                return
            self._take(said, deltas)

    def _take(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        delta = obj(said.get("delta"))
        message = obj(delta.get("message"))
        index = said.get("index")
        index = index if isinstance(index, int) else 0
        match said.get("type"):
            case "content-delta" | "content-start":
                content = obj(message.get("content"))
                thought, words = text(content.get("thinking")), text(content.get("text"))
                if thought:
                    part = ReasoningPart(text=thought, provider=SIGNER)
                    deltas.append(ChoiceDelta(reasoning=part))
                if words:
                    deltas.append(ChoiceDelta(text=words))
                probabilities = said.get("logprobs")
                if probabilities and deltas:
                    deltas[-1].logprobs.extend(_logprobs([probabilities]))
            case "tool-plan-delta":
                if text(message.get("tool_plan")):
                    deltas.append(ChoiceDelta(text=text(message.get("tool_plan"))))
            case "tool-call-start":
                self._start(index, _one(message.get("tool_calls")), deltas)
            case "tool-call-delta":
                function = obj(_one(message.get("tool_calls")).get("function"))
                self._arguments(index, _arguments(function.get("arguments")), deltas)
            case "tool-call-end":
                if index in self._unwritten:
                    self._arguments(index, "{}", deltas)
            case "message-start":
                self._id = text(said.get("id"))
            case "message-end":
                self._usage = obj(delta.get("usage"))
                raw = text(delta.get("finish_reason"))
                if delta.get("error"):
                    self._fail(error_of({"message": text(delta.get("error"))}, 0, self._headers))
                    return
                reason = finish_reason(raw, has_tool_calls=bool(self._calls))
                deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=raw))
                self.complete = True
            case None if said.get("message"):  # an error in the place of an event
                self._fail(error_of(said, 0, self._headers))
            case _:
                pass  # citations, and events of tomorrow

    def _start(self, index: int, call: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        number = self._calls[index] = len(self._calls)
        self._unwritten.add(index)
        function = obj(call.get("function"))
        made = ToolCallDelta(index=number, id=text(call.get("id")), name=text(function.get("name")))
        deltas.append(ChoiceDelta(tool_call=made))
        self._arguments(index, _arguments(function.get("arguments")), deltas)

    def _arguments(self, index: int, piece: str, deltas: list[ChoiceDelta]) -> None:
        if piece and index in self._calls:
            self._unwritten.discard(index)
            made = ToolCallDelta(index=self._calls[index], arguments_json=piece)
            deltas.append(ChoiceDelta(tool_call=made))

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        last: list[ChoiceDelta] = []
        if not self.complete:
            self._take_all(self._sse.flush(), last)
        error = self._error
        if error is None and not self.complete:
            error = truncated()
        request_id = request_id_of(self._headers) or self._id
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = error.failure.vendor_request_id or request_id
            raise error
        return Answer([], self.usage_so_far(), vendor_request_id=request_id)

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures; it gives them at the end alone."""
        return chat_usage(self._usage)


def _one(calls: object) -> dict[str, Any]:
    """In events the vendor sends one call where answers have an array."""
    return obj(calls[0]) if isinstance(calls, list) and calls else obj(calls)


@dataclass(frozen=True, slots=True)
class CohereChat:
    """Chat and embeddings."""

    name: str = "cohere_chat"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = chat_body(call, profile)
        return HttpRequest("/v2/chat", encode(body), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        said = decode_object(body)
        given = said.get("message")
        if not isinstance(given, dict):
            raise (
                error_of(said, 0, headers)
                if isinstance(given, str)
                else unreadable("The vendor's answer has no message.")
            )
        message = content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT)
        plan = text(given.get("tool_plan"))
        if plan:
            message.parts.add().text.text = plan
        content = given.get("content")
        for block in [{"text": content}] if isinstance(content, str) else arr(content):
            thought, words = text(obj(block).get("thinking")), text(obj(block).get("text"))
            if thought:
                message.parts.add().reasoning.CopyFrom(ReasoningPart(text=thought, provider=SIGNER))
            if words:
                message.parts.add().text.text = words
        _add_calls(message, given.get("tool_calls"))
        raw = text(said.get("finish_reason"))
        has_calls = any(part.WhichOneof("kind") == "tool_call" for part in message.parts)
        choice = content_pb2.Choice(
            message=message,
            finish_reason=finish_reason(raw, has_tool_calls=has_calls),
            finish_reason_raw=raw,
            logprobs=_logprobs(said.get("logprobs")),
        )
        return Answer(
            [choice],
            chat_usage(obj(said.get("usage"))),
            vendor_request_id=request_id_of(headers) or text(said.get("id")),
        )

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ChatEvents(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        try:
            said = obj(decode(body))
        except ValueError:
            said = {}
        return error_of(said, status, headers)

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for vectors. They are made for storing; the vendor asks for what."""
        body: dict[str, Any] = {
            "model": vendor_model,
            "texts": list(texts),
            "input_type": "search_document",
            "embedding_types": ["float"],
        }
        if dimensions is not None:
            body["output_dimension"] = dimensions
        return HttpRequest("/v2/embed", encode(body))

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in `body`."""
        said = decode_object(body)
        listed = said.get("embeddings")
        listed = arr(listed.get("float")) if isinstance(listed, dict) else arr(listed)
        if not listed:
            raise unreadable("The vendor's answer has no vectors.")
        billed = count(obj(obj(said.get("meta")).get("billed_units")).get("input_tokens"))
        usage = None if billed is None else inclusive(input_tokens=billed, output_tokens=0)
        embeddings = [
            content_pb2.Embedding(index=number, values=numbers(vector))
            for number, vector in enumerate(listed)
        ]
        return Vectors(embeddings, usage, vendor_request_id=request_id_of(headers) or text(said.get("id")))


FORMATS = (CohereChat(),)
