"""What an application says, as a Responses request.

State stays with the application: `store` is false, and reasoning comes back encrypted and is sent back with the item
that follows it, for one without the other is refused. Reasoning of other vendors is left out.
"""

from typing import Any

from services.providers.adapters.wire.body import data_url, struct_json
from services.providers.adapters.wire.openai_dialect import Dialect, effort_word
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

Role = content_pb2.Role
ToolMode = content_pb2.ToolMode
Effort = content_pb2.ReasoningEffort
Part = content_pb2.Part

_MODES = {ToolMode.TOOL_MODE_NONE: "none", ToolMode.TOOL_MODE_REQUIRED: "required"}
_UNSAYABLE = ("presence_penalty", "frequency_penalty", "seed", "top_k")


def responses_request(
    call: Call, profile: ModelProfile, dialect: Dialect
) -> tuple[dict[str, Any], list[str]]:
    """The request's JSON, and the parameters that were left out. Raises AttemptError(UNSUPPORTED_PARAMETER)."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    body: dict[str, Any] = {
        "model": call.vendor_model,
        "input": _items(call, dialect, omissions),
        "store": False,
    }
    include: list[str] = []
    if call.max_output_tokens is not None:
        body["max_output_tokens"] = call.max_output_tokens
    if call.stream:
        body["stream"] = True
    for name in ("temperature", "top_p"):
        if given.sampling.HasField(name) and omissions.takes(name):
            body[name] = getattr(given.sampling, name)
    for name in _UNSAYABLE:
        if given.sampling.HasField(name):  # type: ignore[arg-type]
            omissions.omit(name)
    if given.stop:
        omissions.omit("stop")
    if given.HasField("n") and given.n > 1:
        omissions.omit("n")
    if given.safety_settings:
        omissions.omit("safety_settings")
    if given.HasField("top_logprobs") and omissions.takes("top_logprobs"):
        include.append("message.output_text.logprobs")
        body["top_logprobs"] = given.top_logprobs
    _add_tools(body, given, omissions)
    _add_format(body, given, omissions)
    _add_reasoning(body, given, profile, omissions)
    if profile.reasoning:
        include.append("reasoning.encrypted_content")
    if include:
        body["include"] = include
    if given.prompt_cache_key and dialect.prompt_cache_key:
        body["prompt_cache_key"] = given.prompt_cache_key
    if call.vendor_user and dialect.user:
        body[dialect.user] = call.vendor_user
    return body, omissions.names


def _add_tools(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    if not given.tools or not omissions.takes("tools"):
        return
    body["tools"] = [
        {
            "type": "function",
            "name": tool.name,
            **({"description": tool.description} if tool.description else {}),
            "parameters": struct_json(tool.parameters_schema) or {"type": "object", "properties": {}},
            "strict": tool.strict,  # said always: here it is true unless said
        }
        for tool in given.tools
    ]
    choice = given.tool_choice
    if choice.WhichOneof("choice") and omissions.takes("tool_choice"):
        if choice.tool_name:
            body["tool_choice"] = {"type": "function", "name": choice.tool_name}
        else:
            body["tool_choice"] = _MODES.get(choice.mode, "auto")
    if choice.HasField("parallel") and omissions.takes("parallel_tool_calls"):
        body["parallel_tool_calls"] = choice.parallel


def _add_format(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            wanted = given.output_format.json_schema
            body["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": wanted.name or "output",
                    "schema": struct_json(wanted.schema),
                    "strict": wanted.strict,
                }
            }
        case "json_object" if omissions.takes("json_object"):
            body["text"] = {"format": {"type": "json_object"}}
        case _:
            pass


def _add_reasoning(
    body: dict[str, Any], given: content_pb2.GenerationInput, profile: ModelProfile, omissions: Omissions
) -> None:
    wanted: dict[str, Any] = {}
    effort = given.reasoning_effort
    if effort != Effort.REASONING_EFFORT_UNSPECIFIED:
        if profile.reasoning is False:
            if effort != Effort.REASONING_EFFORT_NONE:
                omissions.omit("reasoning_effort")
        elif omissions.takes("reasoning_effort"):
            wanted["effort"] = effort_word(effort, profile.reasoning_efforts)
    summary = profile.hints.get("reasoning_summary")
    if summary and profile.reasoning:
        wanted["summary"] = summary
    if wanted:
        body["reasoning"] = wanted


def _items(call: Call, dialect: Dialect, omissions: Omissions) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for message in call.input.messages:
        if message.role == Role.ROLE_ASSISTANT:
            items.extend(_assistant(message, call.provider, dialect))
            continue
        _drop_last_thoughts(items)
        if message.role == Role.ROLE_SYSTEM:
            items.append({"role": "system", "content": _content(list(message.parts), omissions)})
        else:
            items.extend(_user(message, dialect, omissions))
    _drop_last_thoughts(items)
    return items


def _drop_last_thoughts(items: list[dict[str, Any]]) -> None:
    """Reasoning is refused without the item of the same side that follows it."""
    while items and items[-1].get("type") == "reasoning":
        items.pop()


def _user(message: content_pb2.Message, dialect: Dialect, omissions: Omissions) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    said: list[Part] = []
    for part in message.parts:
        if part.WhichOneof("kind") != "tool_result":
            said.append(part)
            continue
        result = part.tool_result
        items.append(
            {
                "type": "function_call_output",
                "call_id": dialect.tool_ids.translate(result.tool_call_id),
                "output": _content(list(result.parts), omissions) if result.parts else "",
            }
        )
    if said:
        items.append({"role": "user", "content": _content(said, omissions)})
    return items


def _content(parts: list[Part], omissions: Omissions) -> Any:
    if len(parts) == 1 and parts[0].WhichOneof("kind") == "text":
        return parts[0].text.text
    return [made for part in parts if (made := _part(part, omissions)) is not None]


def _part(part: Part, omissions: Omissions) -> dict[str, Any] | None:
    match part.WhichOneof("kind"):
        case "text":
            return {"type": "input_text", "text": part.text.text}
        case "image" if omissions.takes("image"):
            made: dict[str, Any] = {"type": "input_image"}
            match part.image.WhichOneof("source"):
                case "vendor_file_id":
                    made["file_id"] = part.image.vendor_file_id
                case "url":
                    made["image_url"] = part.image.url
                case _:
                    made["image_url"] = data_url(part.image)
            if part.image.detail:
                made["detail"] = part.image.detail
            return made
        case "file" if omissions.takes("file"):
            match part.file.WhichOneof("source"):
                case "vendor_file_id":
                    return {"type": "input_file", "file_id": part.file.vendor_file_id}
                case "url":
                    return {"type": "input_file", "file_url": part.file.url}
                case _:
                    name = part.file.filename or "file"
                    return {"type": "input_file", "filename": name, "file_data": data_url(part.file)}
        case "audio":
            omissions.omit("audio")
            return None
        case _:
            return None


def _assistant(message: content_pb2.Message, provider: str, dialect: Dialect) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for part in message.parts:
        match part.WhichOneof("kind"):
            case "text":
                _append_said(items, {"type": "output_text", "text": part.text.text, "annotations": []})
            case "refusal":
                _append_said(items, {"type": "refusal", "refusal": part.refusal.text})
            case "tool_call":
                call = part.tool_call
                items.append(
                    {
                        "type": "function_call",
                        "call_id": dialect.tool_ids.translate(call.id),
                        "name": call.name,
                        "arguments": call.arguments_json or "{}",
                    }
                )
            case "reasoning" if part.reasoning.signature and part.reasoning.provider == provider:
                thought = part.reasoning
                items.append(
                    {
                        "type": "reasoning",
                        **({"id": thought.id} if thought.id else {}),
                        "summary": [{"type": "summary_text", "text": thought.text}] if thought.text else [],
                        "encrypted_content": thought.signature.decode("utf-8", "replace"),
                    }
                )
            case _:
                pass
    return items


def _append_said(items: list[dict[str, Any]], content: dict[str, Any]) -> None:
    if items and items[-1]["type"] == "message":
        items[-1]["content"].append(content)
    else:
        items.append({"type": "message", "role": "assistant", "content": [content]})
