"""A streamed chat completion: bytes in, deltas out."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.wire.body import arr, decode, index_or, media_of_data_url, obj, text
from services.providers.adapters.wire.openai_chat_parts import (
    call_signature,
    logprobs,
    named,
    pieces,
    reasoning_of,
)
from services.providers.adapters.wire.openai_dialect import Dialect, chat_usage
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.adapters.wire.sse import Event, LineTooLong, SseDecoder
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import FinishReason, finish_reason
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
ToolCallDelta = content_pb2.ToolCallDelta


class _ChoiceState:
    """What must be remembered of one choice while it comes."""

    __slots__ = ("call_ids", "call_numbers", "finished", "refused")

    def __init__(self) -> None:
        self.call_numbers: dict[object, int] = {}
        """The vendor's index (or id, where it gives no index) of a call → ours."""
        self.call_ids: list[str] = []
        self.finished = False
        self.refused = False


class ChatStream:
    """Parser of one stream. Ends at `[DONE]`, or at the connection's end if every choice had finished before it."""

    __slots__ = (
        "_choices",
        "_dialect",
        "_error",
        "_headers",
        "_id",
        "_model",
        "_provider",
        "_sse",
        "_usage",
        "complete",
    )

    def __init__(self, headers: Headers, dialect: Dialect, provider: str) -> None:
        self._headers = headers
        self._dialect = dialect
        self._provider = provider
        self._sse = SseDecoder()
        self._choices: dict[int, _ChoiceState] = {}
        self._usage: Mapping[str, Any] | None = None
        self._error: AttemptError | None = None
        self._id = ""
        self._model = ""
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
            last: list[ChoiceDelta] = []
            self._take_all(self._sse.flush(), last)
        all_finished = bool(self._choices) and all(state.finished for state in self._choices.values())
        error = self._error
        if error is None and not self.complete and not all_finished:
            error = truncated()
        if error is not None:
            error.failure.usage = self.usage_so_far()
            error.failure.vendor_cost_nanos = self._dialect.cost_nanos(self._usage or {})
            error.failure.vendor_request_id = request_id_of(self._headers) or self._id
            raise error
        return Answer(
            choices=[],
            usage=chat_usage(self._usage, self._dialect),
            vendor_cost_nanos=self._dialect.cost_nanos(self._usage or {}),
            vendor_request_id=request_id_of(self._headers) or self._id,
            vendor_model=self._model,
        )

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures."""
        return chat_usage(self._usage, self._dialect)

    def _fail(self, error: AttemptError) -> None:
        self._error = error
        self.complete = True

    def _take_all(self, events: list[Event], deltas: list[ChoiceDelta]) -> None:
        for event in events:
            if event.data.strip() == b"[DONE]":
                self.complete = True
            else:
                try:
                    said = decode(event.data)
                except ValueError:
                    self._fail(unreadable("An event of the vendor's stream is not JSON."))
                    return
                if isinstance(said, dict):
                    self._take(said, event.name, deltas)
            if self.complete:
                return

    def _take(self, said: dict[str, Any], event_name: str, deltas: list[ChoiceDelta]) -> None:
        usage = said.get("usage")
        if "x_groq" in said:
            groq = obj(said["x_groq"])
            usage = usage or groq.get("usage")
            if groq.get("error"):
                said = {"error": groq["error"]}
        if usage:
            self._usage = obj(usage)
        if said.get("error") or event_name == "error" or said.get("object") == "error":
            self._fail(error_of(said, 0, self._headers))
            return
        if not self._model:
            self._model = text(said.get("model"))
        if not self._id:
            self._id = text(said.get("id"))
        for number, choice in enumerate(arr(said.get("choices"))):
            if isinstance(choice, dict):
                self._take_choice(choice, number, deltas)

    def _take_choice(self, choice: dict[str, Any], number: int, deltas: list[ChoiceDelta]) -> None:
        index = index_or(choice.get("index"), number)
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState()
        first = len(deltas)
        delta = choice.get("delta")
        if (
            type(delta) is dict
            and len(delta) == 1
            and not choice.get("finish_reason")
            and not choice.get("logprobs")
            and not choice.get("error")
        ):
            content = delta.get("content")
            if content and type(content) is str:  # nearly all of a stream is this
                deltas.append(ChoiceDelta(index=index, text=content))
                return
        if not isinstance(delta, dict):  # the old completions shape has `text`; a last chunk may have neither
            delta = {"content": choice.get("text")}
        _add_content(delta, index, state, deltas, self._provider)
        calls = delta.get("tool_calls")
        if calls:
            _add_calls(arr(calls), index, state, deltas)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            _add_calls([{"index": 0, "function": legacy}], index, state, deltas)
        probabilities = choice.get("logprobs")
        if probabilities:
            if len(deltas) == first:
                deltas.append(ChoiceDelta(index=index))
            deltas[first].logprobs.extend(logprobs(probabilities))
        usage = choice.get("usage")
        if isinstance(usage, dict) and not self._usage:  # Moonshot
            self._usage = usage
        if choice.get("error"):  # OpenRouter, when its upstream broke
            self._fail(error_of({"error": choice["error"]}, 0, self._headers))
            return
        raw = text(choice.get("finish_reason"))
        if raw and raw != "null" and not state.finished:  # some repeat it beside the usage
            state.finished = True
            deltas.append(_finish(index, raw, state))


def _finish(index: int, raw: str, state: _ChoiceState) -> ChoiceDelta:
    reason: FinishReason.ValueType = finish_reason(
        raw, has_tool_calls=bool(state.call_ids), has_refusal=state.refused
    )
    return ChoiceDelta(index=index, finish_reason=reason, finish_reason_raw=raw)


def _add_content(
    delta: dict[str, Any], index: int, state: _ChoiceState, deltas: list[ChoiceDelta], provider: str
) -> None:
    if "reasoning_content" in delta or "reasoning" in delta or "reasoning_details" in delta:
        beside = reasoning_of(delta, provider)
        if beside is not None:
            deltas.append(ChoiceDelta(index=index, reasoning=beside))
    content = delta.get("content")
    if isinstance(content, str):
        if content:
            deltas.append(ChoiceDelta(index=index, text=content))
    elif content:
        for kind, piece in pieces(content):
            match kind:
                case "text":
                    deltas.append(ChoiceDelta(index=index, text=piece))
                case "reasoning":
                    deltas.append(
                        ChoiceDelta(
                            index=index, reasoning=content_pb2.ReasoningPart(text=piece, provider=provider)
                        )
                    )
                case "refusal":
                    state.refused = True
                    deltas.append(ChoiceDelta(index=index, refusal=piece))
                case _:
                    deltas.append(ChoiceDelta(index=index, media=media_of_data_url(piece)))
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        state.refused = True
        deltas.append(ChoiceDelta(index=index, refusal=refusal))
    audio = delta.get("audio")
    if isinstance(audio, dict):
        if text(audio.get("transcript")):
            deltas.append(ChoiceDelta(index=index, text=audio["transcript"]))
        if text(audio.get("data")):
            sound = media_of_data_url(f"data:audio;base64,{audio['data']}")
            deltas.append(ChoiceDelta(index=index, media=sound))
    for image in arr(delta.get("images")):
        url = text(obj(obj(image).get("image_url")).get("url"))
        if url:
            deltas.append(ChoiceDelta(index=index, media=media_of_data_url(url)))


def _add_calls(calls: list[Any], index: int, state: _ChoiceState, deltas: list[ChoiceDelta]) -> None:
    for position, call in enumerate(calls):
        if not isinstance(call, dict):
            continue
        call_id = text(call.get("id"))
        name, given = named(call)
        key = call.get("index")
        if not isinstance(key, int):
            # No index: the id tells calls apart; without one, a delta with a name begins the next call.
            key = call_id or (f"#{len(state.call_ids)}" if name else _latest(state, position))
        number = state.call_numbers.get(key)
        if number is not None and name and call_id and call_id != state.call_ids[number]:
            # Several whole calls under one index (Gemini's OpenAI-shaped endpoint): another id is another call.
            number = None
        made = ToolCallDelta(arguments_json=given, signature=call_signature(call))
        if number is None:
            number = state.call_numbers[key] = len(state.call_ids)
            made.id = call_id or f"call_{number}"
            made.name = name
            state.call_ids.append(made.id)
        made.index = number
        deltas.append(ChoiceDelta(index=index, tool_call=made))


def _latest(state: _ChoiceState, position: int) -> object:
    """The key of the call that was fed last; the position if there is none yet."""
    return next(reversed(state.call_numbers), position)
