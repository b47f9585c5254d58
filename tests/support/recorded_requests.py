"""Reads vendors' own request bodies as GenerationInput: how tests turn recorded traffic into requests of ours.

What our content model has no word for (server-side tools, containers, guardrails) is left out, and the reader says so
in `left_out`, so that a test can tell a request it understood from one it did not.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.struct_pb2 import Struct

from turnpike.common.v1 import content_pb2 as pb

_ROLES = {
    "system": pb.ROLE_SYSTEM,
    "developer": pb.ROLE_SYSTEM,
    "user": pb.ROLE_USER,
    "assistant": pb.ROLE_ASSISTANT,
    "model": pb.ROLE_ASSISTANT,
    "CHATBOT": pb.ROLE_ASSISTANT,
    "tool": pb.ROLE_TOOL,
    "function": pb.ROLE_TOOL,
}
_EFFORTS = {
    "none": pb.REASONING_EFFORT_NONE,
    "minimal": pb.REASONING_EFFORT_MINIMAL,
    "low": pb.REASONING_EFFORT_LOW,
    "medium": pb.REASONING_EFFORT_MEDIUM,
    "high": pb.REASONING_EFFORT_HIGH,
    "max": pb.REASONING_EFFORT_MAX,
    "xhigh": pb.REASONING_EFFORT_MAX,
}


@dataclass(slots=True)
class ReadRequest:
    """A request body in our words."""

    input: pb.GenerationInput = field(default_factory=pb.GenerationInput)
    left_out: list[str] = field(default_factory=list)

    def message(self, role: pb.Role.ValueType) -> pb.Message:
        """A new message at the end."""
        return self.input.messages.add(role=role)

    def tool(self, name: str, description: str | None, schema: Any, strict: bool = False) -> None:
        """A tool at the end."""
        tool = self.input.tools.add(name=name, description=description or "", strict=strict)
        tool.parameters_schema.CopyFrom(_struct(schema))

    def lacks(self, what: str) -> None:
        """Notes that something has no word in our content model."""
        self.left_out.append(what)


def read_request(family: str, body: Mapping[str, Any]) -> ReadRequest:
    """The body of a vendor's family as a request of ours; raises KeyError for a family without a reader."""
    read = ReadRequest()
    _READERS[family](body, read)
    return read


def families() -> Iterable[str]:
    """The families that have a reader."""
    return _READERS.keys()


def _struct(value: Any) -> Struct:
    struct = Struct()
    if isinstance(value, Mapping):
        struct.update(dict(value))
    return struct


def _data_url(url: str) -> tuple[bytes, str] | None:
    if not url.startswith("data:"):
        return None
    head, _, data = url.partition(",")
    return base64.b64decode(data + "=" * (-len(data) % 4)), head[5:].split(";")[0]


def _media(part: pb.MediaPart, url: str) -> None:
    inline = _data_url(url)
    if inline:
        part.data, part.media_type = inline
    else:
        part.url = url


def _sampling(body: Mapping[str, Any], read: ReadRequest, names: Mapping[str, str]) -> None:
    for ours, theirs in names.items():
        value = body.get(theirs)
        if value is not None:
            setattr(read.input.sampling, ours, value)


# ---- OpenAI chat completions, and what is shaped like it ------------------------------------------------------------
def _openai_chat(body: Mapping[str, Any], read: ReadRequest) -> None:
    for item in body.get("messages", ()):
        role = _ROLES[item["role"]]
        if role == pb.ROLE_TOOL:
            result = read.message(role).parts.add().tool_result
            result.tool_call_id = item.get("tool_call_id") or ""
            _openai_parts(item.get("content"), result.parts, read)
            continue
        message = read.message(role)
        message.name = item.get("name") or ""
        if reasoning := item.get("reasoning_content") or item.get("reasoning"):
            message.parts.add().reasoning.text = reasoning
        _openai_parts(item.get("content"), message.parts, read)
        for call in item.get("tool_calls") or ():
            arguments = call["function"].get("arguments") or "{}"
            message.parts.add().tool_call.CopyFrom(
                pb.ToolCall(
                    id=call.get("id") or "",
                    name=call["function"]["name"],
                    arguments_json=arguments if isinstance(arguments, str) else json.dumps(arguments),
                )
            )
    for tool in body.get("tools") or ():
        if "function" not in tool:
            read.lacks(f"tool {tool.get('type')}")
            continue
        function = tool["function"]
        read.tool(
            function["name"],
            function.get("description"),
            function.get("parameters"),
            bool(function.get("strict")),
        )
    _openai_format(body.get("response_format") or {}, read)
    _sampling(
        body,
        read,
        {
            "temperature": "temperature",
            "top_p": "top_p",
            "presence_penalty": "presence_penalty",
            "frequency_penalty": "frequency_penalty",
        },
    )
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    if cap:
        read.input.max_output_tokens = cap
    for known in ("web_search_options", "audio", "prediction", "documents", "functions"):
        if body.get(known):
            read.lacks(known)


def _openai_parts(content: Any, parts: Any, read: ReadRequest) -> None:
    if isinstance(content, str):
        parts.add().text.text = content
        return
    for item in content or ():
        kind = item.get("type")
        if kind in ("text", "input_text", "output_text"):
            parts.add().text.text = item["text"]
        elif kind == "image_url":
            image = item["image_url"]
            url = image if isinstance(image, str) else image["url"]
            _media(parts.add().image, url)
            if isinstance(image, dict) and image.get("detail"):
                parts[-1].image.detail = image["detail"]
        elif kind == "input_image":
            if item.get("image_url"):
                _media(parts.add().image, item["image_url"])
                parts[-1].image.detail = item.get("detail") or ""
            else:
                read.lacks("image by id")
        elif kind == "input_audio":
            audio = parts.add().audio
            audio.data = base64.b64decode(item["input_audio"]["data"])
            audio.media_type = f"audio/{item['input_audio']['format']}"
        elif kind in ("file", "input_file"):
            file = item.get("file", item)
            if file.get("file_data"):
                _media(parts.add().file, file["file_data"])
                parts[-1].file.filename = file.get("filename") or ""
            else:
                read.lacks("file by id or url")
        elif kind == "refusal":
            parts.add().refusal.text = item["refusal"]
        elif kind == "thinking":
            thinking = item["thinking"]
            if not isinstance(thinking, str):
                thinking = "".join(piece.get("text", "") for piece in thinking)
            parts.add().reasoning.text = thinking
        elif kind == "document":
            parts.add().text.text = json.dumps(item["document"])
        else:
            read.lacks(f"part {kind}")


def _openai_format(wanted: Mapping[str, Any], read: ReadRequest) -> None:
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema", wanted)
        read.input.output_format.json_schema.name = schema.get("name") or ""
        read.input.output_format.json_schema.schema.CopyFrom(_struct(schema.get("schema")))
    elif wanted.get("type") == "json_object":
        read.input.output_format.json_object.SetInParent()
        if "json_schema" in wanted:  # Cohere's way
            read.input.output_format.json_schema.schema.CopyFrom(_struct(wanted["json_schema"]))


# ---- OpenAI Responses -----------------------------------------------------------------------------------------------
def _openai_responses(body: Mapping[str, Any], read: ReadRequest) -> None:
    if body.get("instructions"):
        read.message(pb.ROLE_SYSTEM).parts.add().text.text = body["instructions"]
    items = body.get("input") or ()
    if isinstance(items, str):
        read.message(pb.ROLE_USER).parts.add().text.text = items
        items = ()
    for item in items:
        kind = item.get("type") or "message"
        if kind == "message":
            _openai_parts(item["content"], read.message(_ROLES[item["role"]]).parts, read)
        elif kind == "function_call":
            read.message(pb.ROLE_ASSISTANT).parts.add().tool_call.CopyFrom(
                pb.ToolCall(id=item["call_id"], name=item["name"], arguments_json=item["arguments"])
            )
        elif kind == "function_call_output":
            result = read.message(pb.ROLE_TOOL).parts.add().tool_result
            result.tool_call_id = item["call_id"]
            _openai_parts(item["output"], result.parts, read)
        elif kind == "reasoning":
            reasoning = read.message(pb.ROLE_ASSISTANT).parts.add().reasoning
            reasoning.text = "".join(piece.get("text", "") for piece in item.get("summary") or ())
            reasoning.signature = (item.get("encrypted_content") or "").encode()
            reasoning.id, reasoning.provider = item.get("id") or "", "openai"
        else:
            read.lacks(f"item {kind}")
    for tool in body.get("tools") or ():
        if tool.get("type") != "function":
            read.lacks(f"tool {tool.get('type')}")
            continue
        read.tool(tool["name"], tool.get("description"), tool.get("parameters"), bool(tool.get("strict")))
    _openai_format((body.get("text") or {}).get("format") or {}, read)
    if body.get("previous_response_id"):
        read.lacks("previous_response_id")


# ---- Anthropic Messages ---------------------------------------------------------------------------------------------
def _anthropic(body: Mapping[str, Any], read: ReadRequest) -> None:
    system = body.get("system")
    if system:
        _anthropic_parts(system, read.message(pb.ROLE_SYSTEM).parts, read)
    for item in body.get("messages", ()):
        _anthropic_parts(item["content"], read.message(_ROLES[item["role"]]).parts, read)
    for tool in body.get("tools") or ():
        if "input_schema" not in tool:
            read.lacks(f"tool {tool.get('type')}")
            continue
        read.tool(tool["name"], tool.get("description"), tool["input_schema"], bool(tool.get("strict")))
        if tool.get("cache_control"):
            read.input.tools[-1].cache = _lifetime(tool["cache_control"])
    choice = body.get("tool_choice")
    if choice:
        if choice["type"] == "tool":
            read.input.tool_choice.tool_name = choice["name"]
        else:
            read.input.tool_choice.mode = {
                "auto": pb.TOOL_MODE_AUTO,
                "any": pb.TOOL_MODE_REQUIRED,
                "none": pb.TOOL_MODE_NONE,
            }[choice["type"]]
        if choice.get("disable_parallel_tool_use") is not None:
            read.input.tool_choice.parallel = not choice["disable_parallel_tool_use"]
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted:
        read.input.output_format.json_schema.schema.CopyFrom(_struct(wanted["schema"]))
    read.input.stop.extend(body.get("stop_sequences") or ())
    _sampling(body, read, {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k"})
    if body.get("max_tokens"):
        read.input.max_output_tokens = body["max_tokens"]
    if body.get("thinking"):
        read.lacks("thinking budget")
    if body.get("container"):
        read.lacks("container")


def _lifetime(control: Mapping[str, Any]) -> pb.CacheLifetime.ValueType:
    return pb.CACHE_LIFETIME_LONG if control.get("ttl") == "1h" else pb.CACHE_LIFETIME_SHORT


def _anthropic_parts(content: Any, parts: Any, read: ReadRequest) -> None:
    if isinstance(content, str):
        parts.add().text.text = content
        return
    for item in content or ():
        kind = item["type"]
        if kind == "text":
            parts.add().text.text = item["text"]
        elif kind in ("image", "document"):
            source = item["source"]
            part = parts.add()
            media = part.image if kind == "image" else part.file
            if source["type"] == "base64":
                media.data = base64.b64decode(source["data"])
                media.media_type = source["media_type"]
            elif source["type"] == "url":
                media.url = source["url"]
            elif source["type"] == "text":
                media.data, media.media_type = source["data"].encode(), "text/plain"
            else:
                read.lacks(f"{kind} by {source['type']}")
                del parts[-1]
                continue
            if item.get("title"):
                media.filename = item["title"]
        elif kind == "tool_use":
            parts.add().tool_call.CopyFrom(
                pb.ToolCall(id=item["id"], name=item["name"], arguments_json=json.dumps(item["input"]))
            )
        elif kind == "tool_result":
            result = parts.add().tool_result
            result.tool_call_id = item["tool_use_id"]
            result.is_error = bool(item.get("is_error"))
            _anthropic_parts(item.get("content"), result.parts, read)
        elif kind == "thinking":
            reasoning = parts.add().reasoning
            reasoning.text, reasoning.signature = item["thinking"], item["signature"].encode()
            reasoning.provider = "anthropic"
        elif kind == "redacted_thinking":
            reasoning = parts.add().reasoning
            reasoning.signature, reasoning.provider, reasoning.redacted = (
                item["data"].encode(),
                "anthropic",
                True,
            )
        else:
            read.lacks(f"block {kind}")
            continue
        if item.get("cache_control") and len(parts):
            parts[-1].cache = _lifetime(item["cache_control"])


# ---- Gemini ---------------------------------------------------------------------------------------------------------
def _gemini(body: Mapping[str, Any], read: ReadRequest) -> None:
    system = body.get("systemInstruction") or body.get("system_instruction")
    if system:
        _gemini_parts(system["parts"], read.message(pb.ROLE_SYSTEM), read)
    for item in body.get("contents", ()):
        _gemini_parts(item["parts"], read.message(_ROLES[item.get("role") or "user"]), read)
    for tool in body.get("tools") or ():
        for declared in tool.get("functionDeclarations") or tool.get("function_declarations") or ():
            schema = (
                declared.get("parameters")
                or declared.get("parametersJsonSchema")
                or declared.get("parameters_json_schema")
            )
            read.tool(declared["name"], declared.get("description"), schema)
        if not (tool.get("functionDeclarations") or tool.get("function_declarations")):
            read.lacks(f"tool {next(iter(tool), None)}")
    settings = body.get("generationConfig") or body.get("generation_config") or {}
    schema = settings.get("responseSchema") or settings.get("responseJsonSchema")
    if schema:
        read.input.output_format.json_schema.schema.CopyFrom(_struct(schema))
    elif settings.get("responseMimeType") == "application/json":
        read.input.output_format.json_object.SetInParent()
    read.input.stop.extend(settings.get("stopSequences") or ())
    if settings.get("maxOutputTokens"):
        read.input.max_output_tokens = settings["maxOutputTokens"]
    _sampling(
        settings,
        read,
        {
            "temperature": "temperature",
            "top_p": "topP",
            "seed": "seed",
            "presence_penalty": "presencePenalty",
            "frequency_penalty": "frequencyPenalty",
        },
    )
    if settings.get("topK"):
        read.input.sampling.top_k = int(settings["topK"])


def _gemini_parts(items: Iterable[Mapping[str, Any]], message: pb.Message, read: ReadRequest) -> None:
    for item in items:
        inline = item.get("inlineData") or item.get("inline_data")
        if item.get("thought") and "text" in item:
            message.parts.add().reasoning.text = item["text"]
        elif "text" in item:
            message.parts.add().text.text = item["text"]
        elif inline:
            mime = inline.get("mimeType") or inline["mime_type"]
            kind = mime.split("/")[0]
            if kind == "video":
                read.lacks("video")
                continue
            part = message.parts.add()
            media = part.image if kind == "image" else part.audio if kind == "audio" else part.file
            media.data, media.media_type = base64.b64decode(inline["data"]), mime
        elif "fileData" in item or "file_data" in item:
            read.lacks("file by uri")
        elif "functionCall" in item:
            call = item["functionCall"]
            message.parts.add().tool_call.CopyFrom(
                pb.ToolCall(
                    id=call.get("id") or "",
                    name=call["name"],
                    arguments_json=json.dumps(call.get("args") or {}),
                    signature=(item.get("thoughtSignature") or "").encode(),
                )
            )
        elif "functionResponse" in item:
            answer = item["functionResponse"]
            result = message.parts.add().tool_result
            result.name, result.tool_call_id = answer["name"], answer.get("id") or ""
            result.parts.add().text.text = json.dumps(answer["response"])
            for extra in answer.get("parts") or ():
                read.lacks(f"tool result part {next(iter(extra), None)}")
        else:
            read.lacks(f"part {next(iter(item), None)}")


# ---- Bedrock Converse -----------------------------------------------------------------------------------------------
def _bedrock(body: Mapping[str, Any], read: ReadRequest) -> None:
    if body.get("system"):
        _bedrock_parts(body["system"], read.message(pb.ROLE_SYSTEM).parts, read)
    for item in body.get("messages", ()):
        _bedrock_parts(item["content"], read.message(_ROLES[item["role"]]).parts, read)
    for tool in (body.get("toolConfig") or {}).get("tools") or ():
        if "toolSpec" in tool:
            spec = tool["toolSpec"]
            read.tool(
                spec["name"], spec.get("description"), spec["inputSchema"]["json"], bool(spec.get("strict"))
            )
        elif "cachePoint" in tool and read.input.tools:
            read.input.tools[-1].cache = pb.CACHE_LIFETIME_SHORT
        else:
            read.lacks(f"tool {next(iter(tool), None)}")
    wanted = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure")
    if wanted:
        read.input.output_format.json_schema.schema.CopyFrom(
            _struct(json.loads(wanted["jsonSchema"]["schema"]))
        )
    if body.get("guardrailConfig"):
        read.lacks("guardrail")
    if body.get("additionalModelRequestFields"):
        read.lacks("additional fields")


def _bedrock_parts(items: Iterable[Mapping[str, Any]], parts: Any, read: ReadRequest) -> None:
    for item in items:
        if "text" in item:
            parts.add().text.text = item["text"]
        elif "json" in item:
            parts.add().text.text = json.dumps(item["json"])
        elif "image" in item:
            image = parts.add().image
            image.media_type = f"image/{item['image']['format']}"
            image.data = base64.b64decode(item["image"]["source"]["bytes"])
        elif "document" in item:
            document, source = item["document"], item["document"]["source"]
            file = parts.add().file
            file.filename = document["name"]
            file.media_type = f"application/{document['format']}"
            if "text" in source:
                file.data, file.media_type = source["text"].encode(), "text/plain"
            elif "bytes" in source:
                file.data = base64.b64decode(source["bytes"])
                if document["format"] in ("txt", "md", "csv", "html"):
                    file.media_type = "text/plain"
            else:
                read.lacks("document elsewhere")
        elif "toolUse" in item:
            use = item["toolUse"]
            parts.add().tool_call.CopyFrom(
                pb.ToolCall(id=use["toolUseId"], name=use["name"], arguments_json=json.dumps(use["input"]))
            )
        elif "toolResult" in item:
            answer = item["toolResult"]
            result = parts.add().tool_result
            result.tool_call_id = answer["toolUseId"]
            result.is_error = answer.get("status") == "error"
            _bedrock_parts(answer["content"], result.parts, read)
        elif "cachePoint" in item and len(parts):
            parts[-1].cache = (
                pb.CACHE_LIFETIME_LONG if item["cachePoint"].get("ttl") == "1h" else pb.CACHE_LIFETIME_SHORT
            )
        elif "reasoningContent" in item:
            shown = item["reasoningContent"].get("reasoningText") or {}
            reasoning = parts.add().reasoning
            reasoning.text = shown.get("text") or ""
            reasoning.signature = (shown.get("signature") or "").encode()
            reasoning.provider = "bedrock"
        else:
            read.lacks(f"block {next(iter(item), None)}")


# ---- Ollama native --------------------------------------------------------------------------------------------------
def _ollama(body: Mapping[str, Any], read: ReadRequest) -> None:
    if "messages" not in body:
        read.lacks("generate")
    _openai_chat(body, read)
    for item, message in zip(body.get("messages", ()), read.input.messages, strict=True):
        for image in item.get("images") or ():
            message.parts.add().image.data = base64.b64decode(image)


_READERS = {
    "openai-chat": _openai_chat,
    "openai-responses": _openai_responses,
    "anthropic-messages": _anthropic,
    "gemini": _gemini,
    "bedrock-converse": _bedrock,
    "cohere-v2-chat": _openai_chat,
    "ollama-native": _ollama,
}
