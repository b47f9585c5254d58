"""Ollama's own chat: one JSON object, or one a line while it streams.

Rules of translation: roles are OpenAI's; pictures stand beside the text, as bytes alone; arguments are objects;
results carry the tool's name; there is no choice of tools, so a forced one is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.providers.adapters.wire.anthropic_request import arguments_object
from services.providers.adapters.wire.body import (
    arr,
    base64_text,
    decode,
    decode_object,
    encode,
    encode_text,
    numbers,
    obj,
    struct_json,
    text,
)
from services.providers.adapters.wire.openai_chat_parts import logprobs
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.adapters.wire.sse import LineDecoder, LineTooLong
from services.providers.domain.conversation import conversation
from services.providers.domain.failure import AttemptError, truncated, unreadable
from services.providers.domain.finish import finish_reason
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser, Vectors
from turnpike.common.v1 import content_pb2, usage_pb2

ChoiceDelta = content_pb2.ChoiceDelta
Effort = content_pb2.ReasoningEffort
Part = content_pb2.Part
ReasoningPart = content_pb2.ReasoningPart
ToolCallDelta = content_pb2.ToolCallDelta
ToolMode = content_pb2.ToolMode

_LEVELS: Final = {
    Effort.REASONING_EFFORT_MINIMAL: "low",
    Effort.REASONING_EFFORT_LOW: "low",
    Effort.REASONING_EFFORT_MEDIUM: "medium",
    Effort.REASONING_EFFORT_HIGH: "high",
    Effort.REASONING_EFFORT_MAX: "high",
}


def chat_body(call: Call, profile: ModelProfile) -> tuple[dict[str, Any], list[str]]:
    """The body, and what was left out. Raises AttemptError(UNSUPPORTED_PARAMETER) where that is wanted instead."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    talk = conversation(given.messages)
    messages: list[dict[str, Any]] = []
    if talk.system:
        messages += _turn("system", talk.system, omissions)
    for turn in talk.turns:
        messages += _turn("assistant" if turn.assistant else "user", turn.parts, omissions)
    body: dict[str, Any] = {"model": call.vendor_model, "messages": messages, "stream": call.stream}
    options = _options(call, omissions)
    if options:
        body["options"] = options
    if given.HasField("top_logprobs") and omissions.takes("top_logprobs"):
        body["logprobs"] = True
        if given.top_logprobs:
            body["top_logprobs"] = given.top_logprobs
    choice = given.tool_choice
    if given.tools and choice.mode != ToolMode.TOOL_MODE_NONE and omissions.takes("tools"):
        body["tools"] = [_tool(tool) for tool in given.tools]
        if choice.tool_name or choice.mode == ToolMode.TOOL_MODE_REQUIRED:
            omissions.omit("tool_choice")
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            body["format"] = struct_json(given.output_format.json_schema.schema)
        case "json_object" if omissions.takes("json_object"):
            body["format"] = "json"
        case _:
            pass
    effort = given.reasoning_effort
    if effort == Effort.REASONING_EFFORT_NONE:
        if profile.reasoning is not False:
            body["think"] = False
    elif effort != Effort.REASONING_EFFORT_UNSPECIFIED:
        if profile.reasoning is False:
            omissions.omit("reasoning_effort")
        elif omissions.takes("reasoning_effort"):
            # Only gpt-oss knows levels; the others think or do not.
            body["think"] = _LEVELS[effort] if "gpt-oss" in call.vendor_model else True
    return body, omissions.names


def _turn(role: str, parts: Iterable[Part], omissions: Omissions) -> list[dict[str, Any]]:
    """The messages of a turn: results each their own, then what is said."""
    results: list[dict[str, Any]] = []
    texts, images, thoughts = list[str](), list[str](), list[str]()
    calls: list[dict[str, Any]] = []
    for part in parts:
        match part.WhichOneof("kind"):
            case "text":
                texts.append(part.text.text)
            case "refusal":
                texts.append(part.refusal.text)
            case "image" if omissions.takes("image"):
                if part.image.WhichOneof("source") == "data":
                    images.append(base64_text(part.image.data))
                else:
                    omissions.omit("image.url")
            case "reasoning" if part.reasoning.provider in ("", "ollama") and part.reasoning.text:
                thoughts.append(part.reasoning.text)
            case "tool_call":
                called = part.tool_call
                function = {"name": called.name, "arguments": arguments_object(called.arguments_json)}
                calls.append({"function": function})
            case "tool_result":
                result = part.tool_result
                said = [inner.text.text for inner in result.parts if inner.WhichOneof("kind") == "text"]
                for inner in result.parts:
                    if inner.WhichOneof("kind") == "image" and inner.image.data:
                        images.append(base64_text(inner.image.data))
                results.append({"role": "tool", "content": "\n".join(said), "tool_name": result.name})
            case "audio":
                omissions.omit("audio")
            case "file":
                omissions.omit("file")
            case _:
                pass
    if not (texts or images or calls):
        return results
    message: dict[str, Any] = {
        "role": role,
        "content": "\n".join(texts) if role != "assistant" else "".join(texts),
    }
    if images:
        message["images"] = images
    if calls:
        message["tool_calls"] = calls
        if thoughts:
            message["thinking"] = "".join(thoughts)
    return [*results, message]


def _tool(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = struct_json(tool.parameters_schema) or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _options(call: Call, omissions: Omissions) -> dict[str, Any]:
    given, options = call.input, dict[str, Any]()
    if call.max_output_tokens is not None:
        options["num_predict"] = call.max_output_tokens
    sampling = given.sampling
    names = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
    for name in names:
        if sampling.HasField(name) and omissions.takes(name):  # type: ignore[arg-type]
            options[name] = getattr(sampling, name)
    if given.stop and omissions.takes("stop"):
        options["stop"] = list(given.stop)
    if given.HasField("n") and given.n > 1:
        omissions.omit("n")
    if given.safety_settings:
        omissions.omit("safety_settings")
    if given.tool_choice.HasField("parallel") and not given.tool_choice.parallel:
        omissions.omit("parallel_tool_calls")
    return options


class _State:
    """What must be remembered of an answer while it comes."""

    __slots__ = ("calls", "finished", "last", "model")

    def __init__(self) -> None:
        self.calls = 0
        self.finished = False
        self.model = ""
        self.last: Mapping[str, Any] = {}

    def take(self, said: Mapping[str, Any], deltas: list[ChoiceDelta]) -> None:
        """One object; appends what it adds. `response` is the older completion's name for the text."""
        first = len(deltas)
        message = obj(said.get("message"))
        self.model = self.model or text(said.get("model"))
        thought = text(message.get("thinking")) or text(said.get("thinking"))
        if thought:
            deltas.append(ChoiceDelta(reasoning=ReasoningPart(text=thought, provider="ollama")))
        words = text(message.get("content")) or text(said.get("response"))
        if words:
            deltas.append(ChoiceDelta(text=words))
        for call in arr(message.get("tool_calls")):
            function = obj(obj(call).get("function"))
            given = function.get("arguments")
            made = ToolCallDelta(
                index=self.calls,
                id=text(obj(call).get("id")) or f"call_{self.calls}",
                name=text(function.get("name")),
                arguments_json=given if isinstance(given, str) else encode_text(obj(given)),
            )
            self.calls += 1
            deltas.append(ChoiceDelta(tool_call=made))
        if said.get("logprobs"):
            if len(deltas) == first:
                deltas.append(ChoiceDelta())
            deltas[first].logprobs.extend(logprobs({"content": said["logprobs"]}))
        if said.get("done") is True:
            self.finished = True
            self.last = said
            raw = text(said.get("done_reason")) or "stop"  # servers before 0.1.40 tell no reason
            reason = finish_reason(raw, has_tool_calls=self.calls > 0)
            deltas.append(ChoiceDelta(finish_reason=reason, finish_reason_raw=raw))

    def usage(self) -> usage_pb2.Usage | None:
        """What the last object says; a prompt that was cached whole is not counted there."""
        read, output = count(self.last.get("prompt_eval_count")), count(self.last.get("eval_count"))
        if read is None and output is None:
            return None
        return inclusive(input_tokens=read, output_tokens=output)


class ChatLines:
    """Parser of one stream: a JSON object a line, the last one `done`."""

    __slots__ = ("_error", "_headers", "_lines", "_state", "complete")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._lines = LineDecoder()
        self._state = _State()
        self._error: AttemptError | None = None
        self.complete = False

    def feed(self, data: bytes) -> list[ChoiceDelta]:
        """The deltas that `data` completes."""
        deltas: list[ChoiceDelta] = []
        if self.complete:
            return deltas
        try:
            lines = self._lines.feed(data)
        except LineTooLong as error:
            self._fail(unreadable(f"{error}."))
            return deltas
        self._take_all(lines, deltas)
        return deltas

    def _fail(self, error: AttemptError) -> None:
        self._error = error
        self.complete = True

    def _take_all(self, lines: list[bytes], deltas: list[ChoiceDelta]) -> None:
        for line in lines:
            if self.complete:
                return
            if not line.strip():
                continue
            try:
                said = obj(decode(line))
            except ValueError:
                self._fail(unreadable("A line of the server's stream is not JSON."))
                return
            if said.get("error"):
                self._fail(error_of(said, 0, self._headers))
                return
            self._state.take(said, deltas)
            self.complete = self._state.finished

    def close(self) -> Answer:
        """The answer's end. Raises AttemptError."""
        last: list[ChoiceDelta] = []
        if not self.complete:
            line = self._lines.flush()
            if line.rstrip().endswith(b"}"):  # else it broke off within: truncated, and not wrong
                self._take_all([line], last)
        error = self._error
        if error is None and not self.complete:
            error = truncated()
        if error is not None:
            error.failure.usage = self.usage_so_far()
            raise error
        return Answer([], self.usage_so_far(), vendor_model=self._state.model)

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The server's latest figures; it gives them at the end alone."""
        return self._state.usage()


@dataclass(frozen=True, slots=True)
class OllamaChat:
    """Chat and embeddings in Ollama's own format."""

    name: str = "ollama_chat"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = chat_body(call, profile)
        return HttpRequest("/api/chat", encode(body), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        said = decode_object(body)
        if said.get("error"):
            raise error_of(said, 0, headers)
        if "message" not in said and "response" not in said:
            raise unreadable("The server's answer has no message.")
        state, deltas = _State(), list[ChoiceDelta]()
        state.take(said, deltas)
        choice = content_pb2.Choice(message=content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT))
        for delta in deltas:
            match delta.WhichOneof("delta"):
                case "text":
                    choice.message.parts.add().text.text = delta.text
                case "reasoning":
                    choice.message.parts.add().reasoning.CopyFrom(delta.reasoning)
                case "tool_call":
                    call = delta.tool_call
                    choice.message.parts.add().tool_call.CopyFrom(
                        content_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
                    )
                case _:
                    pass
            choice.logprobs.extend(delta.logprobs)
            if delta.finish_reason:
                choice.finish_reason, choice.finish_reason_raw = delta.finish_reason, delta.finish_reason_raw
        return Answer([choice], state.usage(), vendor_model=state.model)

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ChatLines(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        try:
            said = obj(decode(body))
        except ValueError:
            said = {}
        return error_of(said, status, headers)

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for vectors."""
        body: dict[str, Any] = {"model": vendor_model, "input": list(texts)}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return HttpRequest("/api/embed", encode(body))

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in `body`."""
        said = decode_object(body)
        if said.get("error"):
            raise error_of(said, 0, headers)
        listed = arr(said.get("embeddings"))
        if not listed:
            raise unreadable("The server's answer has no vectors.")
        read = count(said.get("prompt_eval_count"))
        usage = None if read is None else inclusive(input_tokens=read, output_tokens=0)
        embeddings = [
            content_pb2.Embedding(index=number, values=numbers(vector))
            for number, vector in enumerate(listed)
        ]
        return Vectors(embeddings, usage)


FORMATS = (OllamaChat(),)
