"""What an application says, as a chat completions request.

Rules of translation: reasoning of other vendors is left out (its own only where the vendor wants it back); a refusal in
the history is plain text where the vendor has no field for it; pictures and files in tool results go into a user turn
right after the results, because tool turns take text alone; ids of tool calls are translated by the dialect's rule.
"""

from typing import Any

from services.providers.adapters.wire.body import arr, base64_text, data_url, decode, struct_json
from services.providers.adapters.wire.openai_dialect import Dialect, effort_word
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

ToolMode = content_pb2.ToolMode
Part = content_pb2.Part

_AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}
_MODES = {
    ToolMode.TOOL_MODE_NONE: "none",
    ToolMode.TOOL_MODE_AUTO: "auto",
    ToolMode.TOOL_MODE_UNSPECIFIED: "auto",
}


def chat_request(call: Call, profile: ModelProfile, dialect: Dialect) -> tuple[dict[str, Any], list[str]]:
    """The request's JSON, and the parameters that were left out. Raises AttemptError(UNSUPPORTED_PARAMETER)."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    body: dict[str, Any] = {"model": call.vendor_model, "messages": _messages(call, dialect, omissions)}
    if call.max_output_tokens is not None:
        body[dialect.max_tokens] = call.max_output_tokens
    if call.stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    _add_sampling(body, given, dialect, omissions)
    _add_tools(body, given, dialect, omissions)
    _add_output_format(body, given, omissions)
    _add_reasoning(body, given, profile, dialect, omissions)
    if given.HasField("n") and given.n > 1 and omissions.takes("n"):
        body["n"] = given.n
    if given.HasField("top_logprobs"):
        if dialect.logprobs and omissions.takes("top_logprobs"):
            body["logprobs"] = True
            if given.top_logprobs:
                body["top_logprobs"] = given.top_logprobs
        elif not dialect.logprobs:
            omissions.omit("top_logprobs")
    if given.safety_settings:
        omissions.omit("safety_settings")
    if given.prompt_cache_key and dialect.prompt_cache_key:
        body["prompt_cache_key"] = given.prompt_cache_key
    if call.vendor_user and dialect.user:
        body[dialect.user] = call.vendor_user
    return body, omissions.names


def _add_sampling(
    body: dict[str, Any], given: content_pb2.GenerationInput, dialect: Dialect, omissions: Omissions
) -> None:
    sampling = given.sampling
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        if sampling.HasField(name) and omissions.takes(name):
            body[name] = getattr(sampling, name)
    if sampling.HasField("top_k"):
        if not dialect.top_k:
            omissions.omit("top_k")
        elif omissions.takes("top_k"):
            body["top_k"] = sampling.top_k
    if sampling.HasField("seed"):
        if not dialect.seed:
            omissions.omit("seed")
        elif omissions.takes("seed"):
            body[dialect.seed] = sampling.seed
    if given.stop and omissions.takes("stop"):
        body["stop"] = list(given.stop)


def _add_tools(
    body: dict[str, Any], given: content_pb2.GenerationInput, dialect: Dialect, omissions: Omissions
) -> None:
    if not given.tools or not omissions.takes("tools"):
        return
    body["tools"] = [_tool(tool) for tool in given.tools]
    choice = given.tool_choice
    if choice.WhichOneof("choice") and omissions.takes("tool_choice"):
        if choice.tool_name:
            body["tool_choice"] = {"type": "function", "function": {"name": choice.tool_name}}
        else:
            body["tool_choice"] = _MODES.get(choice.mode, dialect.tool_required)
    if choice.HasField("parallel"):
        if not dialect.parallel_tools:
            omissions.omit("parallel_tool_calls")
        elif omissions.takes("parallel_tool_calls"):
            body["parallel_tool_calls"] = choice.parallel


def _tool(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = struct_json(tool.parameters_schema) or {"type": "object", "properties": {}}
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _add_output_format(
    body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions
) -> None:
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            wanted = given.output_format.json_schema
            schema: dict[str, Any] = {"name": wanted.name or "output", "schema": struct_json(wanted.schema)}
            if wanted.strict:
                schema["strict"] = True
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "json_object" if omissions.takes("json_object"):
            body["response_format"] = {"type": "json_object"}
        case _:
            pass


def _add_reasoning(
    body: dict[str, Any],
    given: content_pb2.GenerationInput,
    profile: ModelProfile,
    dialect: Dialect,
    omissions: Omissions,
) -> None:
    effort = given.reasoning_effort
    if effort == content_pb2.REASONING_EFFORT_UNSPECIFIED:
        return
    if dialect.thinking_switch and profile.reasoning is not False:
        if omissions.takes("reasoning_effort"):
            _add_switch(body, effort, profile, dialect)
        return
    if profile.reasoning is False or not dialect.reasoning_effort:
        if (
            effort != content_pb2.REASONING_EFFORT_NONE
        ):  # a model that cannot reason already does as it is told
            omissions.omit("reasoning_effort")
        return
    if omissions.takes("reasoning_effort"):
        body["reasoning_effort"] = effort_word(effort, profile.reasoning_efforts)


def _add_switch(
    body: dict[str, Any],
    effort: content_pb2.ReasoningEffort.ValueType,
    profile: ModelProfile,
    dialect: Dialect,
) -> None:
    """Reasoning on or off, for models that think unless they are told not to; and how much, where that can be said."""
    thinks = effort != content_pb2.REASONING_EFFORT_NONE
    if dialect.thinking_switch == "enable_thinking":
        body["enable_thinking"] = thinks
    else:
        body[dialect.thinking_switch] = {"type": "enabled" if thinks else "disabled"}
    if thinks and dialect.reasoning_effort:
        body["reasoning_effort"] = effort_word(effort, profile.reasoning_efforts)


def _messages(call: Call, dialect: Dialect, omissions: Omissions) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in call.input.messages:
        match message.role:
            case content_pb2.ROLE_SYSTEM:
                _append(messages, "system", _content(message.parts, dialect, omissions), message.name)
            case content_pb2.ROLE_ASSISTANT:
                turn = _assistant(message, call.provider, dialect)
                if turn is not None:
                    messages.append(turn)
            case _:
                _user_turn(messages, message, dialect, omissions)
    return messages


def _append(messages: list[dict[str, Any]], role: str, content: Any, name: str) -> None:
    message: dict[str, Any] = {"role": role, "content": content}
    if name:
        message["name"] = name
    messages.append(message)


def _user_turn(
    messages: list[dict[str, Any]], message: content_pb2.Message, dialect: Dialect, omissions: Omissions
) -> None:
    """Tool results first, each a message of its own; then what the user says, and what results held beside text."""
    said: list[Part] = []
    for part in message.parts:
        if part.WhichOneof("kind") != "tool_result":
            said.append(part)
            continue
        result = part.tool_result
        texts = [inner.text.text for inner in result.parts if inner.WhichOneof("kind") == "text"]
        said.extend(inner for inner in result.parts if inner.WhichOneof("kind") != "text")
        messages.append(
            {
                "role": "tool",
                "tool_call_id": dialect.tool_ids.translate(result.tool_call_id),
                "content": "\n".join(texts),
            }
        )
    if said:
        _append(messages, "user", _content(said, dialect, omissions), message.name)


def _content(parts: Any, dialect: Dialect, omissions: Omissions) -> Any:
    """One text as a string, anything else as an array of parts."""
    if (
        len(parts) == 1
        and parts[0].WhichOneof("kind") == "text"
        and not (dialect.cache_control and parts[0].HasField("cache"))
    ):
        return parts[0].text.text
    content = []
    for part in parts:
        made = _part(part, omissions)
        if made is None:
            continue
        if dialect.cache_control and part.HasField("cache") and made["type"] == "text":
            long = part.cache == content_pb2.CacheLifetime.CACHE_LIFETIME_LONG
            made["cache_control"] = {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}
        content.append(made)
    return content


def _part(part: Part, omissions: Omissions) -> dict[str, Any] | None:
    match part.WhichOneof("kind"):
        case "text":
            return {"type": "text", "text": part.text.text}
        case "image":
            return _image(part.image, omissions)
        case "audio":
            return _audio(part.audio, omissions)
        case "file":
            return _file(part.file, omissions)
        case _:
            return None


def _image(image: content_pb2.MediaPart, omissions: Omissions) -> dict[str, Any] | None:
    if not omissions.takes("image"):
        return None
    source = image.WhichOneof("source")
    if source == "vendor_file_id":
        omissions.omit("image.vendor_file_id")
        return None
    inner = {"url": image.url if source == "url" else data_url(image)}
    if image.detail:
        inner["detail"] = image.detail
    return {"type": "image_url", "image_url": inner}


def _audio(audio: content_pb2.MediaPart, omissions: Omissions) -> dict[str, Any] | None:
    if not omissions.takes("audio"):
        return None
    if audio.WhichOneof("source") != "data":
        omissions.omit("audio.url")
        return None
    media_type = audio.media_type.split(";")[0].strip().lower()
    wanted = _AUDIO_FORMATS.get(media_type) or media_type.partition("/")[2] or "wav"
    return {"type": "input_audio", "input_audio": {"data": base64_text(audio.data), "format": wanted}}


def _file(file: content_pb2.MediaPart, omissions: Omissions) -> dict[str, Any] | None:
    if not omissions.takes("file"):
        return None
    match file.WhichOneof("source"):
        case "vendor_file_id":
            return {"type": "file", "file": {"file_id": file.vendor_file_id}}
        case "url":
            omissions.omit("file.url")
            return None
        case _:
            return {
                "type": "file",
                "file": {"filename": file.filename or "file", "file_data": data_url(file)},
            }


def _assistant(message: content_pb2.Message, provider: str, dialect: Dialect) -> dict[str, Any] | None:
    """An assistant's turn; None if nothing of it can be sent to this vendor."""
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    details: list[Any] = []
    for part in message.parts:
        match part.WhichOneof("kind"):
            case "text":
                texts.append(part.text.text)
            case "refusal":
                (refusals if dialect.refusal_back else texts).append(part.refusal.text)
            case "tool_call":
                calls.append(_call(part.tool_call, dialect))
            case "reasoning" if part.reasoning.provider in ("", provider):
                if part.reasoning.text:
                    thoughts.append(part.reasoning.text)
                if dialect.reasoning_details_back and part.reasoning.signature:
                    details.extend(_details(part.reasoning.signature))
            case _:
                pass
    if not texts and not calls and not refusals:
        return None
    turn: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if refusals:
        turn["refusal"] = "".join(refusals)
    if calls:
        turn["tool_calls"] = calls
    if thoughts and calls and dialect.reasoning_back:
        turn[dialect.reasoning_back] = "".join(thoughts)
    if thoughts and dialect.thinking_back:
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "".join(thoughts)}]}
        turn["content"] = [thinking, *({"type": "text", "text": said} for said in texts)]
    if details:
        turn["reasoning_details"] = details
    if message.name:
        turn["name"] = message.name
    return turn


def _call(call: content_pb2.ToolCall, dialect: Dialect) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": dialect.tool_ids.translate(call.id),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
    }
    if call.signature and dialect.signatures_back:
        made["extra_content"] = {"google": {"thought_signature": call.signature.decode("utf-8", "replace")}}
    return made


def _details(signature: bytes) -> list[Any]:
    try:
        return arr(decode(signature))
    except ValueError:
        return []
