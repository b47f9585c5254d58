"""What an application says, as an Anthropic Messages body; shared by Anthropic, Claude on Bedrock and on Vertex.

Rules of translation, beside those of domain/conversation.py: blank texts are left out, for the vendor refuses them;
a refusal in the history is plain text; reasoning goes back only with Anthropic's own signature, unchanged; at most the
last four cache markers are kept; temperatures end at 1; every object of an output schema is closed, as the vendor
demands; a last turn of the model is completed where the model takes prefills, else followed by a request to go on.
"""

from collections.abc import Iterable
from typing import Any, Final

from services.providers.adapters.wire.anthropic_thinking import add_thinking
from services.providers.adapters.wire.body import base64_text, decode, obj, struct_json
from services.providers.domain.conversation import OPENING, Conversation, Turn, conversation
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.domain.tool_ids import COMMON
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

SIGNER: Final = "anthropic"
"""Whose signatures Claude takes back, wherever it is called: they are the same on all three platforms."""

MAX_TOKENS_DEFAULT: Final = 4_096
"""For calls without a cap (replays): the vendor requires one, and every model takes this."""

CACHE_MARKERS_MAX: Final = 4
"""The vendor refuses more."""

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TEXT_TYPES: Final = frozenset({"application/json", "application/xml", "application/yaml"})

Part = content_pb2.Part
ToolMode = content_pb2.ToolMode

_CHOICES: Final = {
    ToolMode.TOOL_MODE_UNSPECIFIED: "auto",
    ToolMode.TOOL_MODE_AUTO: "auto",
    ToolMode.TOOL_MODE_NONE: "none",
    ToolMode.TOOL_MODE_REQUIRED: "any",
}


def messages_body(call: Call, profile: ModelProfile) -> tuple[dict[str, Any], list[str], bool]:
    """The body without `model` and `stream`, what was left out, and whether it names uploaded files.

    Raises AttemptError(UNSUPPORTED_PARAMETER) where the caller wants that rather than an omission.
    """
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    writer = _Blocks(omissions)
    talk = conversation(given.messages)
    body: dict[str, Any] = {
        "max_tokens": call.max_output_tokens or profile.output_tokens_max or MAX_TOKENS_DEFAULT,
        "messages": _messages(talk, writer, profile),
    }
    system = writer.blocks(talk.system)
    if system:
        body["system"] = _plain(system)
    if given.stop and omissions.takes("stop"):
        body["stop_sequences"] = list(given.stop)
    _add_tools(body, given, profile, omissions)
    _add_output_format(body, given, omissions)
    add_thinking(body, given, profile, omissions)
    _add_sampling(body, given, omissions)
    if call.vendor_user:
        body["metadata"] = {"user_id": call.vendor_user}
    _keep_last_markers(body)
    return body, omissions.names, writer.files


def _messages(talk: Conversation, writer: "_Blocks", profile: ModelProfile) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in talk.turns:
        blocks = writer.blocks(turn.parts)
        if blocks:
            _append(messages, turn, blocks)
    if messages and messages[-1]["role"] == "assistant":
        if profile.hints.get("prefill") == "refused":
            messages.append({"role": "user", "content": OPENING})
        else:
            _strip_end(messages[-1])
    return messages


def _append(messages: list[dict[str, Any]], turn: Turn, blocks: list[dict[str, Any]]) -> None:
    role = "assistant" if turn.assistant else "user"
    if messages and messages[-1]["role"] == role:  # what stood between them could not be sent
        before = messages[-1]["content"]
        before = [{"type": "text", "text": before}] if isinstance(before, str) else before
        messages[-1]["content"] = before + blocks
    else:
        messages.append({"role": role, "content": _plain(blocks)})


def _plain(blocks: list[dict[str, Any]]) -> Any:
    """One text alone as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _strip_end(message: dict[str, Any]) -> None:
    """A prefill may not end in white space."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = content.rstrip()
    elif content[-1]["type"] == "text":
        content[-1]["text"] = content[-1]["text"].rstrip()


class _Blocks:
    """Writes parts as content blocks."""

    def __init__(self, omissions: Omissions) -> None:
        self._omissions = omissions
        self.files = False
        """True once a block names an uploaded file."""

    def blocks(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        """The blocks of `parts`; what cannot be said is left out."""
        blocks: list[dict[str, Any]] = []
        for part in parts:
            block = self._block(part)
            if block is not None:
                blocks.append(block)
            # The marker of a part that was left out stands at what came before it.
            if (
                part.HasField("cache")
                and blocks
                and blocks[-1]["type"] not in ("thinking", "redacted_thinking")
            ):
                blocks[-1]["cache_control"] = _cache_control(part.cache)
        return blocks

    def _block(self, part: Part) -> dict[str, Any] | None:
        match part.WhichOneof("kind"):
            case "text":
                return {"type": "text", "text": part.text.text} if part.text.text.strip() else None
            case "refusal":
                return {"type": "text", "text": part.refusal.text} if part.refusal.text.strip() else None
            case "image":
                return self._image(part.image)
            case "file":
                return self._document(part.file)
            case "tool_call":
                return _tool_use(part.tool_call)
            case "tool_result":
                return self._tool_result(part.tool_result)
            case "reasoning":
                return _thinking(part.reasoning)
            case "audio":
                self._omissions.omit("audio")
        return None

    def _image(self, image: content_pb2.MediaPart) -> dict[str, Any] | None:
        if not self._omissions.takes("image"):
            return None
        if image.WhichOneof("source") == "data" and image.media_type not in _IMAGE_TYPES:
            self._omissions.omit(f"image.{image.media_type or 'unknown'}")
            return None
        return {"type": "image", "source": self._source(image)}

    def _document(self, file: content_pb2.MediaPart) -> dict[str, Any] | None:
        if not self._omissions.takes("file"):
            return None
        media_type = file.media_type.partition(";")[0].strip().lower()
        block: dict[str, Any] = {"type": "document"}
        if file.WhichOneof("source") == "data" and (
            media_type.startswith("text/") or media_type in _TEXT_TYPES
        ):
            text = file.data.decode("utf-8", "replace")
            block["source"] = {"type": "text", "media_type": "text/plain", "data": text}
        elif file.WhichOneof("source") != "data" or media_type == "application/pdf":
            block["source"] = self._source(file)
        else:
            self._omissions.omit(f"file.{media_type or 'unknown'}")
            return None
        if file.filename:
            block["title"] = file.filename
        return block

    def _source(self, media: content_pb2.MediaPart) -> dict[str, Any]:
        match media.WhichOneof("source"):
            case "url":
                return {"type": "url", "url": media.url}
            case "vendor_file_id":
                self.files = True
                return {"type": "file", "file_id": media.vendor_file_id}
        return {"type": "base64", "media_type": media.media_type, "data": base64_text(media.data)}

    def _tool_result(self, result: content_pb2.ToolResult) -> dict[str, Any]:
        block: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": COMMON.translate(result.tool_call_id),
        }
        content = self.blocks(result.parts)
        if content:
            block["content"] = _plain(content)
        if result.is_error:
            block["is_error"] = True
        return block


def _tool_use(call: content_pb2.ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": COMMON.translate(call.id),
        "name": call.name,
        "input": arguments_object(call.arguments_json),
    }


def arguments_object(arguments_json: str) -> dict[str, Any]:
    """A call's arguments as the object the vendor wants; what the model got wrong is kept under one name."""
    try:
        value = decode(arguments_json or "{}")
    except ValueError:
        value = arguments_json
    return value if isinstance(value, dict) else {"arguments": value}


def _thinking(reasoning: content_pb2.ReasoningPart) -> dict[str, Any] | None:
    if reasoning.provider != SIGNER or not reasoning.signature:
        return None
    signature = reasoning.signature.decode("utf-8", "replace")
    if reasoning.redacted:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": reasoning.text, "signature": signature}


def _cache_control(lifetime: content_pb2.CacheLifetime.ValueType) -> dict[str, Any]:
    if lifetime == content_pb2.CacheLifetime.CACHE_LIFETIME_LONG:
        return {"type": "ephemeral", "ttl": "1h"}
    return {"type": "ephemeral"}


def _add_tools(
    body: dict[str, Any], given: content_pb2.GenerationInput, profile: ModelProfile, omissions: Omissions
) -> None:
    if not given.tools or not omissions.takes("tools"):
        return
    body["tools"] = [_tool(tool) for tool in given.tools]
    choice = given.tool_choice
    wanted: dict[str, Any] | None = None
    if choice.WhichOneof("choice"):
        forced = bool(choice.tool_name) or choice.mode == ToolMode.TOOL_MODE_REQUIRED
        if forced and profile.hints.get("forced_tool_choice") == "refused":
            omissions.omit("tool_choice")
        elif omissions.takes("tool_choice"):
            wanted = (
                {"type": "tool", "name": choice.tool_name}
                if choice.tool_name
                else {"type": _CHOICES.get(choice.mode, "auto")}
            )
    if choice.HasField("parallel") and omissions.takes("parallel_tool_calls"):
        wanted = wanted or {"type": "auto"}
        if wanted["type"] != "none":
            wanted["disable_parallel_tool_use"] = not choice.parallel
    if wanted is not None:
        body["tool_choice"] = wanted


def _tool(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name}
    if tool.description:
        made["description"] = tool.description
    schema = struct_json(tool.parameters_schema)
    made["input_schema"] = schema if schema.get("type") == "object" else {**schema, "type": "object"}
    if tool.strict:
        made["strict"] = True
    if tool.HasField("cache"):
        made["cache_control"] = _cache_control(tool.cache)
    return made


def _add_output_format(
    body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions
) -> None:
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            schema = closed(struct_json(given.output_format.json_schema.schema))
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        case "json_object":
            omissions.omit("json_object")
        case _:
            pass


def closed(schema: Any) -> Any:
    """A schema whose objects all say `additionalProperties: false`, which the vendor requires of them."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Names of properties are no keywords: `{"properties": {"type": …}}`.
    made = {
        key: {name: closed(inner) for name, inner in value.items()}
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict)
        else value
        if key in ("enum", "const", "default", "examples", "required")
        else closed(value)
        for key, value in schema.items()
    }
    if made.get("type") == "object" or "properties" in made:
        made["additionalProperties"] = False
    return made


def _add_sampling(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    """What the vendor has of it. While it thinks, temperature and top_k are refused and top_p has a floor."""
    sampling = given.sampling
    thinks = obj(body.get("thinking")).get("type") in ("enabled", "adaptive")
    for name in ("temperature", "top_p", "top_k"):
        if not sampling.HasField(name):
            continue
        value = getattr(sampling, name)
        if thinks and (name != "top_p" or value < 0.95):
            omissions.omit(name)
        elif omissions.takes(name):
            body[name] = min(value, 1.0) if name == "temperature" else value
    for name in ("presence_penalty", "frequency_penalty", "seed"):
        if sampling.HasField(name):  # type: ignore[arg-type]
            omissions.omit(name)
    if given.HasField("n") and given.n > 1:
        omissions.omit("n")
    if given.HasField("top_logprobs"):
        omissions.omit("top_logprobs")
    if given.safety_settings:
        omissions.omit("safety_settings")


def _keep_last_markers(body: dict[str, Any]) -> None:
    """Removes cache markers from the front until only CACHE_MARKERS_MAX are left, in the vendor's order of prefixes."""
    marked = [tool for tool in body.get("tools", ()) if "cache_control" in tool]
    system = body.get("system")
    if isinstance(system, list):
        marked += [block for block in system if "cache_control" in block]
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for block in message["content"]:
                inner = block.get("content")
                if isinstance(inner, list):
                    marked += [nested for nested in inner if "cache_control" in nested]
                if "cache_control" in block:
                    marked.append(block)
    for block in marked[:-CACHE_MARKERS_MAX]:
        del block["cache_control"]
