"""What Gemini answers: whole, as a stream of whole answers that each add a little, or as an error."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from services.providers.adapters.wire.body import (
    BYTE_ORDER_MARK,
    arr,
    decode,
    decode_object,
    encode_text,
    index_or,
    obj,
    text,
)
from services.providers.adapters.wire.gemini_partial import PartialArguments
from services.providers.adapters.wire.gemini_request import OWN_ID_PREFIX, SIGNER
from services.providers.adapters.wire.gemini_usage import content_usage
from services.providers.adapters.wire.json_array import ArrayDecoder
from services.providers.adapters.wire.sse import Event, LineTooLong, SseDecoder
from services.providers.domain.classify import duration_s, vendor_error
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import finish_reason
from services.providers.domain.usage import count
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
MediaPart = content_pb2.MediaPart
ReasoningPart = content_pb2.ReasoningPart
ToolCallDelta = content_pb2.ToolCallDelta
FinishReason = content_pb2.FinishReason

_FINISH_NUMBERS: Final = (
    "",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
)
"""For clients that ask for enums as numbers; the vendor's own order."""


def content_answer(headers: Headers, body: bytes) -> Answer:
    """The answer in a whole body. Raises AttemptError if it holds an error or neither candidates nor a block."""
    said = decode_object(body)
    if said.get("error"):
        raise error_of(said, 0, headers)
    state = _State()
    deltas: list[ChoiceDelta] = []
    state.take(said, deltas)
    if not state.seen:
        if "usageMetadata" not in said:
            raise unreadable("The vendor's answer has no candidates.")
        deltas.append(ChoiceDelta())  # counted and billed, but the model said nothing
    return Answer(
        choices=_assembled(deltas),
        usage=content_usage(obj(said.get("usageMetadata"))),
        vendor_request_id=text(said.get("responseId")),
        vendor_model=text(said.get("modelVersion")),
    )


def _assembled(deltas: list[ChoiceDelta]) -> list[content_pb2.Choice]:
    """Deltas as whole choices; each call came whole."""
    choices: dict[int, content_pb2.Choice] = {}
    for delta in deltas:
        choice = choices.get(delta.index)
        if choice is None:
            choice = choices[delta.index] = content_pb2.Choice(index=delta.index)
            choice.message.role = content_pb2.Role.ROLE_ASSISTANT
        match delta.WhichOneof("delta"):
            case "text":
                choice.message.parts.add().text.text = delta.text
            case "reasoning":
                choice.message.parts.add().reasoning.CopyFrom(delta.reasoning)
            case "media":
                kind = delta.media.media_type.partition("/")[0]
                part = choice.message.parts.add()
                (part.audio if kind == "audio" else part.image).CopyFrom(delta.media)
            case "tool_call":
                call = delta.tool_call
                if not call.id:  # the arguments of the call before
                    choice.message.parts[-1].tool_call.arguments_json += call.arguments_json
                    continue
                choice.message.parts.add().tool_call.CopyFrom(
                    content_pb2.ToolCall(
                        id=call.id,
                        name=call.name,
                        arguments_json=call.arguments_json,
                        signature=call.signature,
                    )
                )
            case _:
                pass
        choice.logprobs.extend(delta.logprobs)
        if delta.finish_reason:
            choice.finish_reason, choice.finish_reason_raw = delta.finish_reason, delta.finish_reason_raw
    return [choices[index] for index in sorted(choices)]


class _State:
    """What must be remembered while answers come."""

    __slots__ = ("_calls", "_partial", "_response_id", "finished", "seen")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._partial: dict[int, PartialArguments] = {}
        """The call of each candidate whose arguments are still coming."""
        self._response_id = ""
        self.seen: set[int] = set()
        self.finished: set[int] = set()

    def take(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One answer; appends what it adds."""
        if not self._response_id:
            self._response_id = text(said.get("responseId"))
        for number, candidate in enumerate(arr(said.get("candidates"))):
            if isinstance(candidate, dict):
                self._candidate(candidate, number, deltas)
        if "promptFeedback" not in said:
            return
        blocked = obj(said["promptFeedback"]).get("blockReason")
        if blocked is not None and not self.finished:
            self.seen.add(0)
            self.finished.add(0)
            reason = FinishReason.FINISH_REASON_CONTENT_FILTER
            deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=str(blocked)))

    def _candidate(self, candidate: Mapping[str, Any], number: int, deltas: list[ChoiceDelta]) -> None:
        index = index_or(candidate.get("index"), number)
        self.seen.add(index)
        first = len(deltas)
        for part in arr(obj(candidate.get("content")).get("parts")):
            if isinstance(part, dict):
                self._part(part, index, deltas)
        probabilities = _logprobs(candidate["logprobsResult"]) if "logprobsResult" in candidate else []
        if probabilities:
            if len(deltas) == first:
                deltas.append(ChoiceDelta(index=index))
            deltas[first].logprobs.extend(probabilities)
        raw = _finish_word(candidate.get("finishReason"))
        if raw and index not in self.finished:
            self.finished.add(index)
            self._end_arguments(index, deltas)
            reason = finish_reason(raw, has_tool_calls=self._calls.get(index, 0) > 0)
            deltas.append(ChoiceDelta(index=index, finish_reason=reason, finish_reason_raw=raw))

    def _part(self, part: Mapping[str, Any], index: int, deltas: list[ChoiceDelta]) -> None:
        if len(part) == 1 and type(part.get("text")) is str:  # nearly all of a stream is this
            if part["text"]:
                deltas.append(ChoiceDelta(index=index, text=part["text"]))
            return
        signature = text(part.get("thoughtSignature") or part.get("thought_signature")).encode()
        call = part.get("functionCall")
        inline = obj(part.get("inlineData") or part.get("inline_data"))
        if isinstance(call, dict):
            self._call(call, signature, index, deltas)
            return
        if inline:
            media_type = text(inline.get("mimeType") or inline.get("mime_type"))
            media = MediaPart(data=_bytes(inline.get("data")), media_type=media_type)
            deltas.append(ChoiceDelta(index=index, media=media))
        words = text(part.get("text"))
        if part.get("thought") is True:
            if words or signature:
                thought = ReasoningPart(text=words, signature=signature, provider=SIGNER)
                deltas.append(ChoiceDelta(index=index, reasoning=thought))
            return
        if words:
            deltas.append(ChoiceDelta(index=index, text=words))
        if signature and ("text" in part or inline):
            proof = ReasoningPart(signature=signature, provider=SIGNER)
            deltas.append(ChoiceDelta(index=index, reasoning=proof))

    def _call(self, call: Mapping[str, Any], signature: bytes, index: int, deltas: list[ChoiceDelta]) -> None:
        partial, name = self._partial.get(index), text(call.get("name"))
        if partial is None and not call:
            return
        if partial is None or name:
            self._end_arguments(index, deltas)
            number = self._calls.get(index, 0)
            self._calls[index] = number + 1
            made = ToolCallDelta(
                index=number,
                id=text(call.get("id")) or f"{OWN_ID_PREFIX}{self._response_id[:24]}_{number}",
                name=name,
                signature=signature,
            )
            deltas.append(ChoiceDelta(index=index, tool_call=made))
            if "willContinue" not in call and "partialArgs" not in call:
                deltas[-1].tool_call.arguments_json = encode_text(obj(call.get("args")))
                return
            partial = self._partial[index] = PartialArguments(number)
        partial.add(arr(call.get("partialArgs")))
        if call.get("willContinue") is not True:
            self._end_arguments(index, deltas)

    def _end_arguments(self, index: int, deltas: list[ChoiceDelta]) -> None:
        partial = self._partial.pop(index, None)
        if partial is not None:
            made = ToolCallDelta(index=partial.call, arguments_json=partial.json())
            deltas.append(ChoiceDelta(index=index, tool_call=made))


def _finish_word(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return _FINISH_NUMBERS[value] if 0 <= value < len(_FINISH_NUMBERS) else f"#{value}"
    word = text(value)
    return "" if word == "FINISH_REASON_UNSPECIFIED" else word


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(text(value))
    except (binascii.Error, ValueError):
        return b""


def _logprobs(result: object) -> list[content_pb2.TokenLogprob]:
    result = obj(result)
    tops = arr(result.get("topCandidates"))
    made = []
    for number, chosen in enumerate(arr(result.get("chosenCandidates"))):
        entry = _logprob(obj(chosen))
        if number < len(tops):
            entry.top.extend(_logprob(obj(top)) for top in arr(obj(tops[number]).get("candidates")))
        made.append(entry)
    return made


def _logprob(entry: Mapping[str, Any]) -> content_pb2.TokenLogprob:
    value = entry.get("logProbability")
    return content_pb2.TokenLogprob(
        token=text(entry.get("token")), logprob=value if isinstance(value, int | float) else 0.0
    )


def parse_error_body(status: int, headers: Headers, body: bytes) -> AttemptError:
    """What an answer of an error status means; streams of the array kind wrap the object in an array."""
    try:
        said = decode(body.removeprefix(b"data:"))
    except ValueError:
        said = {}
    if isinstance(said, list) and said:
        said = said[0]
    return error_of(obj(said), status, headers)


def error_of(said: Mapping[str, Any], status: int, headers: Headers) -> AttemptError:
    """What an error object means. `status` 0: inside a stream, where the object tells its own."""
    error = obj(said.get("error"))
    details = [obj(entry) for entry in arr(error.get("details"))]
    own_status = count(error.get("code"))
    word = text(error.get("status"))
    reasons = [text(entry.get("reason")) for entry in details]
    delay = next((text(entry["retryDelay"]) for entry in details if text(entry.get("retryDelay"))), "")
    return vendor_error(
        status or own_status or 0,
        headers,
        words=(word, *reasons),
        message=text(error.get("message")) or text(said.get("message")),
        code=next((reason for reason in reasons if reason), word),
        retry_after_s=duration_s(delay),
    )


class ContentStream:
    """Parser of one stream. The vendor marks no end: every candidate having finished is one, then the connection's."""

    __slots__ = (
        "_error",
        "_events",
        "_head",
        "_headers",
        "_model",
        "_request_id",
        "_state",
        "_usage",
        "complete",
    )

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._events: SseDecoder | ArrayDecoder | None = None
        """None: nothing but white space and a mark of byte order has come yet."""
        self._head = b""
        self._state = _State()
        self._error: AttemptError | None = None
        self._usage: Mapping[str, Any] = {}
        self._model = ""
        self._request_id = ""
        self.complete = False

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        if self.complete:
            return deltas
        if self._events is None:
            self._head += data
            if BYTE_ORDER_MARK.startswith(self._head):  # it may be cut within
                return deltas
            data = self._head.removeprefix(BYTE_ORDER_MARK).lstrip()
            if not data:
                self._head = BYTE_ORDER_MARK  # what has come is said by it, and kept no longer than it is
                return deltas
            self._head = b""
            # Without `alt=sse` the vendor streams one JSON array; a proxy in front of it may have asked so.
            self._events = ArrayDecoder() if data[:1] in b"[{" else SseDecoder()
        try:
            events = self._events.feed(data)
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
            if event.data.strip() == b"[DONE]":  # of a proxy
                continue
            try:
                said = obj(decode(event.data))
            except ValueError:
                self._fail(unreadable("An event of the vendor's stream is not JSON."))
                return
            usage = obj(said.get("usageMetadata"))
            # Cumulative, so the last one counts; but one without its total may tell a part only.
            if usage and ("totalTokenCount" in usage or "totalTokenCount" not in self._usage):
                self._usage = usage
            if said.get("error"):
                self._fail(error_of(said, 0, self._headers))
                return
            if not self._model:
                self._model = text(said.get("modelVersion"))
            if not self._request_id:
                self._request_id = text(said.get("responseId"))
            self._state.take(said, deltas)

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        last: list[ChoiceDelta] = []
        if not self.complete and self._events is not None:
            self._take_all(self._events.flush(), last)
        error = self._error
        if error is None and not (self._state.seen and self._state.seen == self._state.finished):
            error = truncated()
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = error.failure.vendor_request_id or self._request_id
            raise error
        return Answer([], self.usage_so_far(), vendor_request_id=self._request_id, vendor_model=self._model)

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return content_usage(self._usage)
