"""A streamed Responses object: named events in, deltas out. It ends at its terminal event; there is no [DONE]."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.wire.body import decode, obj, text
from services.providers.adapters.wire.openai_chat_parts import arguments, logprobs
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.adapters.wire.openai_responses_answer import (
    PARAGRAPH,
    end_of,
    ending,
    failure_in,
    item_parts,
    reasoning_part,
    responses_usage,
)
from services.providers.adapters.wire.sse import Event, LineTooLong, SseDecoder
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
ToolCallDelta = content_pb2.ToolCallDelta
ReasoningPart = content_pb2.ReasoningPart

_CALLS = ("function_call", "custom_tool_call")


class _Item:
    """One item of the output while it comes."""

    __slots__ = ("call", "paragraph", "said")

    def __init__(self, call: int | None) -> None:
        self.call = call
        """Number of the tool call that it is; None: it is none."""
        self.said = False
        """Something of it came by deltas, so that what comes whole at its end is not new."""
        self.paragraph: object = None


class ResponsesStream:
    """Parser of one stream."""

    __slots__ = (
        "_calls",
        "_dialect",
        "_error",
        "_headers",
        "_items",
        "_last",
        "_parts",
        "_provider",
        "_sse",
        "complete",
    )

    def __init__(self, headers: Headers, dialect: Dialect, provider: str) -> None:
        self._headers = headers
        self._dialect = dialect
        self._provider = provider
        self._sse = SseDecoder()
        self._items: dict[object, _Item] = {}
        self._calls = 0
        self._parts: list[content_pb2.Part] = []
        """What kinds came, for the reason of the end."""
        self._last: Mapping[str, Any] = {}
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

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        if not self.complete:
            self._take_all(self._sse.flush(), [])
        error = self._error
        if error is None and not self.complete:
            error = truncated()
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_request_id = request_id_of(self._headers) or text(self._last.get("id"))
            raise error
        return ending(self._last, self._headers, self._dialect, [])

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures; it tells them at the end."""
        return responses_usage(self._last.get("usage"), self._dialect)

    def _fail(self, error: AttemptError) -> None:
        if self._error is None:
            self._error = error
        self.complete = True

    def _take_all(self, events: list[Event], deltas: list[ChoiceDelta]) -> None:
        for event in events:
            if event.data.strip() == b"[DONE]":
                continue
            try:
                said = decode(event.data)
            except ValueError:
                self._fail(unreadable("An event of the vendor's stream is not JSON."))
                return
            if isinstance(said, dict):
                self._take(said, deltas)
            if self.complete:
                return

    def _take(self, said: dict[str, Any], deltas: list[ChoiceDelta]) -> None:
        match said.get("type"):
            case "response.output_text.delta":
                self._item(said).said = True
                delta = ChoiceDelta(text=text(said.get("delta")))
                if said.get("logprobs"):
                    delta.logprobs.extend(logprobs({"content": said["logprobs"]}))
                if delta.text or delta.logprobs:
                    deltas.append(delta)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._arguments(said, text(said.get("delta")), deltas)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._reasoning(said, deltas)
            case "response.refusal.delta":
                self._item(said).said = True
                self._parts.append(content_pb2.Part(refusal=content_pb2.TextPart()))
                deltas.append(ChoiceDelta(refusal=text(said.get("delta"))))
            case "response.output_item.added":
                self._added(said, deltas)
            case "response.output_item.done":
                self._done(said, deltas)
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled":
                self._end(obj(said.get("response")), deltas)
            case "response.created" | "response.in_progress" | "response.queued":
                self._last = obj(said.get("response"))
            case "error":
                self._fail(error_of(said if said.get("error") else {"error": said}, 0, self._headers))
            case None if said.get("error"):
                self._fail(error_of(said, 0, self._headers))
            case _:
                pass

    def _item(self, said: Mapping[str, Any]) -> _Item:
        key = said.get("output_index")
        if not isinstance(key, int):
            key = text(said.get("item_id"))
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(None)
        return item

    def _added(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        shown = obj(said.get("item"))
        if shown.get("type") in _CALLS:
            self._begin_call(said, shown, deltas)

    def _begin_call(
        self, said: Mapping[str, Any], shown: Mapping[str, Any], deltas: list[ChoiceDelta]
    ) -> _Item:
        item = self._item(said)
        if item.call is None:
            item.call = self._calls
            self._calls += 1
            self._parts.append(content_pb2.Part(tool_call=content_pb2.ToolCall()))
            call_id = text(shown.get("call_id")) or text(shown.get("id"))
            made = ToolCallDelta(index=item.call, id=call_id, name=text(shown.get("name")))
            deltas.append(ChoiceDelta(tool_call=made))
        return item

    def _arguments(self, said: Mapping[str, Any], piece: str, deltas: list[ChoiceDelta]) -> None:
        item = self._item(said)
        if item.call is not None and piece:
            item.said = True
            deltas.append(ChoiceDelta(tool_call=ToolCallDelta(index=item.call, arguments_json=piece)))

    def _reasoning(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        item = self._item(said)
        paragraph = said.get("summary_index", 0)
        piece = text(said.get("delta"))
        if item.said and paragraph != item.paragraph:
            piece = PARAGRAPH + piece
        item.said, item.paragraph = True, paragraph
        deltas.append(ChoiceDelta(reasoning=ReasoningPart(text=piece)))

    def _done(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """An item in whole: its proof is new, and all of it is where no deltas came before."""
        shown = obj(said.get("item"))
        if shown.get("type") in _CALLS:
            item = self._begin_call(said, shown, deltas)
            if not item.said:
                self._arguments(said, arguments(shown.get("arguments", shown.get("input"))), deltas)
            return
        item = self._item(said)
        if shown.get("type") == "reasoning":
            whole = reasoning_part(shown, self._provider)
            if item.said:
                whole.text, whole.redacted = "", False
            deltas.append(ChoiceDelta(reasoning=whole))
        elif not item.said:
            for part in item_parts(shown, self._provider):
                self._parts.append(part)
                match part.WhichOneof("kind"):
                    case "text":
                        deltas.append(ChoiceDelta(text=part.text.text))
                    case "refusal":
                        deltas.append(ChoiceDelta(refusal=part.refusal.text))
                    case "image":
                        deltas.append(ChoiceDelta(media=part.image))
                    case _:
                        pass
        item.said = True

    def _end(self, response: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        self._last = response
        failure = failure_in(response, self._headers)
        if failure is not None:
            self._fail(failure)
            return
        reason, raw = end_of(response, self._parts)
        deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=raw))
        self.complete = True
