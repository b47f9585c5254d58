"""What an application says, as a body of Cohere's chat, version 2.

Rules of translation: roles are OpenAI's; the text of a turn with tool calls is the vendor's `tool_plan`; reasoning goes
back only in such turns and only if it came from Cohere; results are text, and the pictures they hold follow in a user's
turn; a refusal in the history is plain text; there is no choice of one tool by name and none of parallel calls.
"""

from typing import Any, Final

from services.providers.adapters.wire.body import data_url, struct_json
from services.providers.domain.conversation import Turn, conversation
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.domain.tool_ids import COMMON
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

SIGNER: Final = "cohere"

Part = content_pb2.Part
Effort = content_pb2.ReasoningEffort
ToolMode = content_pb2.ToolMode

_BUDGET_TOKENS: Final = {
    Effort.REASONING_EFFORT_MINIMAL: 512,
    Effort.REASONING_EFFORT_LOW: 2_048,
    Effort.REASONING_EFFORT_MEDIUM: 8_192,
    Effort.REASONING_EFFORT_HIGH: 16_384,
    Effort.REASONING_EFFORT_MAX: 31_000,
}


def chat_body(call: Call, profile: ModelProfile) -> tuple[dict[str, Any], list[str]]:
    """The body, and what was left out. Raises AttemptError(UNSUPPORTED_PARAMETER) where that is wanted instead."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    talk = conversation(given.messages)
    messages: list[dict[str, Any]] = []
    if talk.system:
        messages.append({"role": "system", "content": _content(talk.system, omissions)})
    for turn in talk.turns:
        if turn.assistant:
            _add_assistant(messages, turn)
        else:
            _add_user(messages, turn, omissions)
    body: dict[str, Any] = {"model": call.vendor_model, "messages": messages, "stream": call.stream}
    if call.max_output_tokens is not None:
        body["max_tokens"] = call.max_output_tokens
    _add_sampling(body, given, omissions)
    _add_tools(body, given, omissions)
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            schema = struct_json(given.output_format.json_schema.schema)
            body["response_format"] = {"type": "json_object", "json_schema": schema}
        case "json_object" if omissions.takes("json_object"):
            body["response_format"] = {"type": "json_object"}
        case _:
            pass
    _add_thinking(body, call, profile, omissions)
    return body, omissions.names


def _content(parts: list[Part], omissions: Omissions) -> Any:
    """One text as a string, anything else as an array."""
    content: list[dict[str, Any]] = []
    for part in parts:
        match part.WhichOneof("kind"):
            case "text":
                content.append({"type": "text", "text": part.text.text})
            case "image" if omissions.takes("image"):
                if part.image.WhichOneof("source") == "vendor_file_id":
                    omissions.omit("image.vendor_file_id")
                    continue
                url = part.image.url or data_url(part.image)
                image = {"url": url, "detail": part.image.detail} if part.image.detail else {"url": url}
                content.append({"type": "image_url", "image_url": image})
            case "audio":
                omissions.omit("audio")
            case "file":
                omissions.omit("file")
            case _:
                pass
    if len(content) == 1 and content[0]["type"] == "text":
        return content[0]["text"]
    return content


def _add_user(messages: list[dict[str, Any]], turn: Turn, omissions: Omissions) -> None:
    said: list[Part] = []
    for part in turn.parts:
        if part.WhichOneof("kind") != "tool_result":
            said.append(part)
            continue
        result = part.tool_result
        texts = [inner.text.text for inner in result.parts if inner.WhichOneof("kind") == "text"]
        said += [inner for inner in result.parts if inner.WhichOneof("kind") != "text"]
        messages.append(
            {
                "role": "tool",
                "tool_call_id": COMMON.translate(result.tool_call_id),
                "content": "\n".join(texts),
            }
        )
    content = _content(said, omissions) if said else None
    if content:
        messages.append({"role": "user", "content": content})


def _add_assistant(messages: list[dict[str, Any]], turn: Turn) -> None:
    texts, thoughts = list[str](), list[str]()
    calls: list[dict[str, Any]] = []
    for part in turn.parts:
        match part.WhichOneof("kind"):
            case "text":
                texts.append(part.text.text)
            case "refusal":
                texts.append(part.refusal.text)
            case "reasoning" if part.reasoning.provider == SIGNER:
                thoughts.append(part.reasoning.text)
            case "tool_call":
                call = part.tool_call
                function = {"name": call.name, "arguments": call.arguments_json or "{}"}
                calls.append({"id": COMMON.translate(call.id), "type": "function", "function": function})
            case _:
                pass
    message: dict[str, Any] = {"role": "assistant"}
    said = "".join(texts)
    if calls:
        message["tool_calls"] = calls
        if said:
            message["tool_plan"] = said
        if thoughts:
            message["content"] = [{"type": "thinking", "thinking": "".join(thoughts)}]
    elif said:
        message["content"] = said
    else:
        return
    messages.append(message)


def _add_sampling(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    sampling = given.sampling
    for name, theirs in (
        ("temperature", "temperature"),
        ("top_p", "p"),
        ("top_k", "k"),
        ("seed", "seed"),
        ("presence_penalty", "presence_penalty"),
        ("frequency_penalty", "frequency_penalty"),
    ):
        if sampling.HasField(name) and omissions.takes(name):  # type: ignore[arg-type]
            value = getattr(sampling, name)
            # The vendor's ranges: 0.01 to 0.99, and penalties from 0 to 1.
            if name == "top_p":
                value = min(max(value, 0.01), 0.99)
            elif name.endswith("_penalty"):
                value = min(max(value, 0.0), 1.0)
            body[theirs] = value
    if given.stop and omissions.takes("stop"):
        body["stop_sequences"] = list(given.stop)
    if given.HasField("top_logprobs"):
        if given.top_logprobs:
            omissions.omit("top_logprobs")  # the vendor tells no alternatives
        body["logprobs"] = True
    if given.HasField("n") and given.n > 1:
        omissions.omit("n")
    if given.safety_settings:
        omissions.omit("safety_settings")


def _add_tools(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    if not given.tools or not omissions.takes("tools"):
        return
    body["tools"] = [_tool(tool) for tool in given.tools]
    if any(tool.strict for tool in given.tools):
        body["strict_tools"] = True
    choice = given.tool_choice
    if choice.tool_name:
        if len(given.tools) > 1:
            omissions.omit("tool_choice")
        body["tool_choice"] = "REQUIRED"
    elif choice.mode == ToolMode.TOOL_MODE_REQUIRED and omissions.takes("tool_choice"):
        body["tool_choice"] = "REQUIRED"
    elif choice.mode == ToolMode.TOOL_MODE_NONE and omissions.takes("tool_choice"):
        body["tool_choice"] = "NONE"
    if choice.HasField("parallel") and not choice.parallel:
        omissions.omit("parallel_tool_calls")


def _tool(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = struct_json(tool.parameters_schema) or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _add_thinking(body: dict[str, Any], call: Call, profile: ModelProfile, omissions: Omissions) -> None:
    effort = call.input.reasoning_effort
    if effort == Effort.REASONING_EFFORT_UNSPECIFIED:
        return
    reasons = profile.reasoning if profile.reasoning is not None else "reasoning" in call.vendor_model
    if effort == Effort.REASONING_EFFORT_NONE:
        if reasons:
            body["thinking"] = {"type": "disabled"}
        return
    if not reasons:
        omissions.omit("reasoning_effort")
        return
    if not omissions.takes("reasoning_effort"):
        return
    budget = _BUDGET_TOKENS[effort]
    if call.max_output_tokens is not None:
        budget = max(1, min(budget, call.max_output_tokens * 3 // 4))
    body["thinking"] = {"type": "enabled", "token_budget": budget}
