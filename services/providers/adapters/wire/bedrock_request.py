"""What an application says, as a body of Bedrock's Converse.

Rules of translation, beside those of domain/conversation.py: empty texts are left out; reasoning goes back only with a
signature that came from Bedrock, or from Anthropic to one of its models; names of documents are cleaned, for most
characters are refused in them; where a history has calls and the request no tools, the called names are declared, for
the vendor refuses a history of unknown tools; thinking and top_k go beside the body, where each family looks for them.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from services.providers.adapters.wire.anthropic_request import SIGNER as ANTHROPIC
from services.providers.adapters.wire.anthropic_request import arguments_object
from services.providers.adapters.wire.anthropic_thinking import add_thinking
from services.providers.adapters.wire.body import base64_text, encode_text, struct_json
from services.providers.domain.conversation import conversation
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.domain.tool_ids import COMMON
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

SIGNER: Final = "bedrock"

_DOCUMENT_FORMATS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_IMAGE_FORMATS: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")
_SPACES: Final = re.compile(r" {2,}")

Part = content_pb2.Part
ToolMode = content_pb2.ToolMode


def converse_body(call: Call, profile: ModelProfile) -> tuple[dict[str, Any], list[str]]:
    """The body, and what was left out. Raises AttemptError(UNSUPPORTED_PARAMETER) where that is wanted instead."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    claude = "claude" in call.vendor_model or "claude" in profile.model
    writer = _Blocks(omissions, claude)
    talk = conversation(given.messages)
    body: dict[str, Any] = {"messages": []}
    for turn in talk.turns:
        content = writer.blocks(turn.parts)
        role = "assistant" if turn.assistant else "user"
        if content and body["messages"] and body["messages"][-1]["role"] == role:
            body["messages"][-1]["content"] += content
        elif content:
            body["messages"].append({"role": role, "content": content})
    system = writer.blocks(talk.system)
    if system:
        body["system"] = system
    _add_settings(body, call, omissions, claude)
    _add_tools(body, given, omissions, writer)
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            wanted = given.output_format.json_schema
            structure = {"schema": encode_text(struct_json(wanted.schema)), "name": wanted.name or "output"}
            text_format = {"type": "json_schema", "structure": {"jsonSchema": structure}}
            body["outputConfig"] = {"textFormat": text_format}
        case "json_object":
            omissions.omit("json_object")
        case _:
            pass
    _add_thinking(body, call, profile, omissions, claude)
    return body, omissions.names


class _Blocks:
    """Writes parts as content blocks."""

    def __init__(self, omissions: Omissions, claude: bool) -> None:
        self._omissions = omissions
        self._claude = claude
        self._documents = 0
        self.called: dict[str, None] = {}
        """Names of tools the history has calls of, in their order."""

    def blocks(self, parts: Iterable[Part], *, in_result: bool = False) -> list[dict[str, Any]]:
        """The blocks of `parts`; what cannot be said is left out."""
        blocks: list[dict[str, Any]] = []
        for part in parts:
            block = self._block(part)
            if block is not None:
                blocks.append(block)
            if part.HasField("cache") and blocks and not in_result:
                if "document" in blocks[-1]:  # a marker right after a document is refused
                    blocks.append({"text": "\n"})
                blocks.append({"cachePoint": cache_point(part.cache)})
        return blocks

    def _block(self, part: Part) -> dict[str, Any] | None:
        match part.WhichOneof("kind"):
            case "text":
                return {"text": part.text.text} if part.text.text else None
            case "refusal":
                return {"text": part.refusal.text} if part.refusal.text else None
            case "image":
                return self._image(part.image)
            case "file":
                return self._document(part.file)
            case "tool_call":
                call = part.tool_call
                self.called[call.name] = None
                return {
                    "toolUse": {
                        "toolUseId": COMMON.translate(call.id),
                        "name": call.name,
                        "input": arguments_object(call.arguments_json),
                    }
                }
            case "tool_result":
                return self._result(part.tool_result)
            case "reasoning":
                return self._reasoning(part.reasoning)
            case "audio":
                self._omissions.omit("audio")
        return None

    def _image(self, image: content_pb2.MediaPart) -> dict[str, Any] | None:
        if not self._omissions.takes("image"):
            return None
        source = _source(image)
        wanted = _IMAGE_FORMATS.get(image.media_type)
        if source is None or wanted is None:
            self._omissions.omit("image.url" if source is None else f"image.{image.media_type or 'unknown'}")
            return None
        return {"image": {"format": wanted, "source": source}}

    def _document(self, file: content_pb2.MediaPart) -> dict[str, Any] | None:
        if not self._omissions.takes("file"):
            return None
        source = _source(file)
        media_type = file.media_type.partition(";")[0].strip().lower()
        wanted = _DOCUMENT_FORMATS.get(media_type) or ("txt" if media_type.startswith("text/") else None)
        if source is None or wanted is None:
            self._omissions.omit("file.url" if source is None else f"file.{media_type or 'unknown'}")
            return None
        self._documents += 1
        stem = file.filename.rpartition(".")[0] or file.filename
        name = _SPACES.sub(" ", _NOT_IN_NAMES.sub(" ", stem)).strip() or f"document {self._documents}"
        return {"document": {"format": wanted, "name": name[:200], "source": source}}

    def _result(self, result: content_pb2.ToolResult) -> dict[str, Any]:
        content = self.blocks(result.parts, in_result=True) or [{"text": "(empty)"}]
        answer: dict[str, Any] = {"toolUseId": COMMON.translate(result.tool_call_id), "content": content}
        if result.is_error:
            answer["status"] = "error"
        return {"toolResult": answer}

    def _reasoning(self, reasoning: content_pb2.ReasoningPart) -> dict[str, Any] | None:
        ours = reasoning.provider == SIGNER or (self._claude and reasoning.provider == ANTHROPIC)
        if not ours or not reasoning.signature:
            return None
        signature = reasoning.signature.decode("utf-8", "replace")
        if reasoning.redacted:
            return {"reasoningContent": {"redactedContent": signature}}
        return {"reasoningContent": {"reasoningText": {"text": reasoning.text, "signature": signature}}}


def _source(media: content_pb2.MediaPart) -> dict[str, Any] | None:
    """Bytes, or an object in S3; the vendor fetches nothing else."""
    match media.WhichOneof("source"):
        case "data":
            return {"bytes": base64_text(media.data)}
        case "url" if media.url.startswith("s3://"):
            return {"s3Location": {"uri": media.url}}
        case "vendor_file_id" if media.vendor_file_id.startswith("s3://"):
            return {"s3Location": {"uri": media.vendor_file_id}}
    return None


def cache_point(lifetime: content_pb2.CacheLifetime.ValueType) -> dict[str, Any]:
    """A marker up to which the prompt is cached."""
    if lifetime == content_pb2.CacheLifetime.CACHE_LIFETIME_LONG:
        return {"type": "default", "ttl": "1h"}
    return {"type": "default"}


def _add_settings(body: dict[str, Any], call: Call, omissions: Omissions, claude: bool) -> None:
    given, settings = call.input, dict[str, Any]()
    sampling = given.sampling
    if call.max_output_tokens is not None:
        settings["maxTokens"] = call.max_output_tokens
    if sampling.HasField("temperature") and omissions.takes("temperature"):
        settings["temperature"] = min(sampling.temperature, 1.0)  # every family here ends at 1
    if sampling.HasField("top_p") and omissions.takes("top_p"):
        settings["topP"] = sampling.top_p
    if given.stop and omissions.takes("stop"):
        settings["stopSequences"] = list(given.stop)
    if settings:
        body["inferenceConfig"] = settings
    if sampling.HasField("top_k") and omissions.takes("top_k"):
        if claude:
            _beside(body)["top_k"] = sampling.top_k
        elif "nova" in call.vendor_model:
            _beside(body)["inferenceConfig"] = {"topK": sampling.top_k}
        else:
            omissions.omit("top_k")
    for name in ("presence_penalty", "frequency_penalty", "seed"):
        if sampling.HasField(name):
            omissions.omit(name)
    if given.HasField("n") and given.n > 1:
        omissions.omit("n")
    if given.HasField("top_logprobs"):
        omissions.omit("top_logprobs")
    if given.safety_settings:
        omissions.omit("safety_settings")


def _beside(body: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = body.setdefault("additionalModelRequestFields", {})
    return fields


def _add_tools(
    body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions, writer: _Blocks
) -> None:
    tools: list[dict[str, Any]] = []
    if given.tools and omissions.takes("tools"):
        for tool in given.tools:
            tools.append({"toolSpec": _spec(tool)})
            if tool.HasField("cache"):
                tools.append({"cachePoint": cache_point(tool.cache)})
    else:
        empty = {"json": {"type": "object", "properties": {}}}
        tools = [{"toolSpec": {"name": name, "inputSchema": empty}} for name in writer.called]
    if not tools:
        return
    config: dict[str, Any] = {"tools": tools}
    choice = given.tool_choice
    if given.tools and choice.WhichOneof("choice"):
        if choice.tool_name and omissions.takes("tool_choice"):
            config["toolChoice"] = {"tool": {"name": choice.tool_name}}
        elif choice.mode == ToolMode.TOOL_MODE_REQUIRED and omissions.takes("tool_choice"):
            config["toolChoice"] = {"any": {}}
        elif choice.mode == ToolMode.TOOL_MODE_AUTO:
            config["toolChoice"] = {"auto": {}}
        elif choice.mode == ToolMode.TOOL_MODE_NONE:
            if writer.called:
                omissions.omit(
                    "tool_choice"
                )  # the history's tools must stay declared, and cannot be forbidden
            else:
                return
    if choice.HasField("parallel") and not choice.parallel:
        omissions.omit("parallel_tool_calls")
    body["toolConfig"] = config


def _spec(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema = struct_json(tool.parameters_schema)
    spec["inputSchema"] = {"json": schema if schema.get("type") == "object" else {**schema, "type": "object"}}
    if tool.strict:
        spec["strict"] = True
    return spec


def _add_thinking(
    body: dict[str, Any], call: Call, profile: ModelProfile, omissions: Omissions, claude: bool
) -> None:
    """Claude's own fields, beside the body; of the others no way to choose an effort is known here."""
    effort = call.input.reasoning_effort
    if effort == content_pb2.REASONING_EFFORT_UNSPECIFIED:
        return
    if not claude:
        if effort != content_pb2.REASONING_EFFORT_NONE:
            omissions.omit("reasoning_effort")
        return
    made: dict[str, Any] = {"max_tokens": call.max_output_tokens or profile.output_tokens_max or 4_096}
    named = profile if profile.model else ModelProfile(model=call.vendor_model, hints=profile.hints)
    add_thinking(made, call.input, named, omissions)
    del made["max_tokens"]
    if not made:
        return
    _beside(body).update(made)
    if effort == content_pb2.REASONING_EFFORT_NONE:
        return
    settings = body.get("inferenceConfig", {})
    for theirs, ours in (("temperature", "temperature"), ("topP", "top_p")):
        if theirs in settings:
            del settings[theirs]
            omissions.omit(ours)
