"""What an application says, as a body of Gemini's generateContent; the same at AI Studio and on Vertex.

Rules of translation, beside those of domain/conversation.py: results are objects (text that is no JSON object becomes
`{"output": …}`, a failure `{"error": …}`), and what they hold beside text follows them in the same turn; ids of calls
are sent only to models that give ids, and only their own; thoughts go back only with Google's signature, where it came
from; a call without one, made by another vendor's model, carries the word with which Gemini 3 takes it; a refusal in
the history is plain text; cache markers have no place here, for the vendor caches by itself.
"""

import base64
import re
from collections.abc import Iterable
from mimetypes import guess_type
from typing import Any, Final
from urllib.parse import urlsplit

from services.providers.adapters.wire.body import base64_text, decode, struct_json
from services.providers.adapters.wire.openai_dialect import effort_word
from services.providers.domain.conversation import Turn, conversation
from services.providers.domain.profile import ModelProfile, Omissions
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2

SIGNER: Final = "google"
"""Whose signatures Gemini takes back, at AI Studio and on Vertex alike."""

OWN_ID_PREFIX: Final = "gemini_"
"""Begins the ids we give to calls the vendor gave none."""

FOREIGN_CALL_SIGNATURE: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""The vendor's own word for calls in a history that none of its models made."""

Part = content_pb2.Part
Effort = content_pb2.ReasoningEffort
ToolMode = content_pb2.ToolMode
Category = content_pb2.SafetyCategory
Threshold = content_pb2.SafetyThreshold

_THREE_OR_LATER: Final = re.compile(r"gemini-([3-9]|\d\d)")
_BUDGET_TOKENS: Final = {
    Effort.REASONING_EFFORT_MINIMAL: 512,
    Effort.REASONING_EFFORT_LOW: 2_048,
    Effort.REASONING_EFFORT_MEDIUM: 8_192,
    Effort.REASONING_EFFORT_HIGH: 16_384,
    Effort.REASONING_EFFORT_MAX: 24_576,
}
_MODES: Final = {ToolMode.TOOL_MODE_NONE: "NONE", ToolMode.TOOL_MODE_REQUIRED: "ANY"}
_CATEGORIES: Final = {
    Category.SAFETY_CATEGORY_HARASSMENT: "HARM_CATEGORY_HARASSMENT",
    Category.SAFETY_CATEGORY_HATE: "HARM_CATEGORY_HATE_SPEECH",
    Category.SAFETY_CATEGORY_SEXUAL: "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    Category.SAFETY_CATEGORY_DANGEROUS: "HARM_CATEGORY_DANGEROUS_CONTENT",
}
_THRESHOLDS: Final = {
    Threshold.SAFETY_THRESHOLD_BLOCK_LOW: "BLOCK_LOW_AND_ABOVE",
    Threshold.SAFETY_THRESHOLD_BLOCK_MEDIUM: "BLOCK_MEDIUM_AND_ABOVE",
    Threshold.SAFETY_THRESHOLD_BLOCK_HIGH: "BLOCK_ONLY_HIGH",
    Threshold.SAFETY_THRESHOLD_OFF: "OFF",
}


def content_body(call: Call, profile: ModelProfile) -> tuple[dict[str, Any], list[str]]:
    """The body, and what was left out. Raises AttemptError(UNSUPPORTED_PARAMETER) where that is wanted instead."""
    given = call.input
    omissions = Omissions(given.unsupported, profile, call.vendor_model)
    writer = _Parts(omissions, bool(_THREE_OR_LATER.search(call.vendor_model)))
    talk = conversation(given.messages)
    body: dict[str, Any] = {"contents": [_content(turn, writer) for turn in talk.turns]}
    body["contents"] = [content for content in body["contents"] if content["parts"]]
    system = writer.parts(talk.system)
    if system:
        body["systemInstruction"] = {"role": "user", "parts": system}
    _add_tools(body, given, omissions)
    settings = _settings(call, profile, omissions)
    if settings:
        body["generationConfig"] = settings
    safety = [
        {"category": _CATEGORIES[setting.category], "threshold": _THRESHOLDS[setting.threshold]}
        for setting in given.safety_settings
        if setting.category in _CATEGORIES and setting.threshold in _THRESHOLDS
    ]
    if safety:
        body["safetySettings"] = safety
    return body, omissions.names


def _content(turn: Turn, writer: "_Parts") -> dict[str, Any]:
    return {"role": "model" if turn.assistant else "user", "parts": writer.parts(turn.parts)}


class _Parts:
    """Writes parts as the vendor's parts."""

    def __init__(self, omissions: Omissions, knows_ids: bool) -> None:
        self._omissions = omissions
        self._knows_ids = knows_ids
        """Gemini 3 and later: calls have ids, and their signatures are demanded."""

    def parts(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        """The vendor's parts; what cannot be said is left out."""
        made: list[dict[str, Any]] = []
        beside: list[dict[str, Any]] = []
        calls = 0
        for part in parts:
            match part.WhichOneof("kind"):
                case "text":
                    if part.text.text:
                        made.append({"text": part.text.text})
                case "refusal":
                    made.append({"text": part.refusal.text})
                case "image":
                    if self._omissions.takes("image"):
                        made.append(_media(part.image))
                case "audio":
                    if self._omissions.takes("audio"):
                        made.append(_media(part.audio))
                case "file":
                    if self._omissions.takes("file"):
                        made.append(_media(part.file))
                case "tool_call":
                    made.append(self._call(part.tool_call, first=calls == 0))
                    calls += 1
                case "tool_result":
                    made.append(self._result(part.tool_result, beside))
                case "reasoning":
                    _add_thought(made, part.reasoning)
                case _:
                    pass
        return made + beside

    def _call(self, call: content_pb2.ToolCall, *, first: bool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": call.name, "args": _object(call.arguments_json)}
        if self._sends(call.id):
            function["id"] = call.id
        part: dict[str, Any] = {"functionCall": function}
        if call.signature:
            part["thoughtSignature"] = call.signature.decode("utf-8", "replace")
        elif first and self._knows_ids:
            part["thoughtSignature"] = FOREIGN_CALL_SIGNATURE
        return part

    def _result(self, result: content_pb2.ToolResult, beside: list[dict[str, Any]]) -> dict[str, Any]:
        texts = [inner.text.text for inner in result.parts if inner.WhichOneof("kind") == "text"]
        beside += self.parts(inner for inner in result.parts if inner.WhichOneof("kind") != "text")
        text = "\n".join(texts)
        response = {"error": text} if result.is_error else _result_object(text)
        function: dict[str, Any] = {"name": result.name, "response": response}
        if self._sends(result.tool_call_id):
            function["id"] = result.tool_call_id
        return {"functionResponse": function}

    def _sends(self, call_id: str) -> bool:
        return self._knows_ids and bool(call_id) and not call_id.startswith(OWN_ID_PREFIX)


def _add_thought(made: list[dict[str, Any]], reasoning: content_pb2.ReasoningPart) -> None:
    """Google's own thoughts go back; a signature alone belongs to the text before it."""
    if reasoning.provider != SIGNER or not reasoning.signature:
        return
    signature = reasoning.signature.decode("utf-8", "replace")
    if reasoning.text:
        made.append({"text": reasoning.text, "thought": True, "thoughtSignature": signature})
    elif made and "text" in made[-1] and "thoughtSignature" not in made[-1]:
        made[-1]["thoughtSignature"] = signature
    else:
        made.append({"text": "", "thoughtSignature": signature})


def _media(media: content_pb2.MediaPart) -> dict[str, Any]:
    match media.WhichOneof("source"):
        case "data":
            data = base64_text(media.data)
            return {"inlineData": {"mimeType": media.media_type or "application/octet-stream", "data": data}}
        case "url":
            file = {"fileUri": media.url}
        case _:
            file = {"fileUri": media.vendor_file_id}
    media_type = media.media_type or guess_type(urlsplit(file["fileUri"]).path)[0]
    if media_type:  # the vendor does not look at what it fetches
        file["mimeType"] = media_type
    return {"fileData": file}


def _object(text: str) -> dict[str, Any]:
    try:
        value = decode(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def _result_object(text: str) -> dict[str, Any]:
    try:
        value = decode(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"output": value}


def _add_tools(body: dict[str, Any], given: content_pb2.GenerationInput, omissions: Omissions) -> None:
    if not given.tools or not omissions.takes("tools"):
        return
    body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in given.tools]}]
    choice = given.tool_choice
    if choice.WhichOneof("choice") and omissions.takes("tool_choice"):
        config: dict[str, Any] = {"mode": _MODES.get(choice.mode, "AUTO")}
        if choice.tool_name:
            config = {"mode": "ANY", "allowedFunctionNames": [choice.tool_name]}
        body["toolConfig"] = {"functionCallingConfig": config}
    if choice.HasField("parallel") and not choice.parallel:
        omissions.omit("parallel_tool_calls")


def _declaration(tool: content_pb2.ToolDefinition) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    schema = struct_json(tool.parameters_schema)
    if schema.get("properties"):  # an object without properties is refused
        declared["parametersJsonSchema"] = schema
    return declared


def _settings(call: Call, profile: ModelProfile, omissions: Omissions) -> dict[str, Any]:
    given, settings = call.input, dict[str, Any]()
    if call.max_output_tokens is not None:
        settings["maxOutputTokens"] = call.max_output_tokens
    sampling = given.sampling
    for name, theirs in (
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("top_k", "topK"),
        ("seed", "seed"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
    ):
        if sampling.HasField(name) and omissions.takes(name):  # type: ignore[arg-type]
            settings[theirs] = getattr(sampling, name)
    if given.stop and omissions.takes("stop"):
        settings["stopSequences"] = list(given.stop)
    if given.HasField("n") and given.n > 1 and omissions.takes("n"):
        settings["candidateCount"] = given.n
    if given.HasField("top_logprobs") and omissions.takes("top_logprobs"):
        settings["responseLogprobs"] = True
        if given.top_logprobs:
            settings["logprobs"] = given.top_logprobs
    match given.output_format.WhichOneof("format"):
        case "json_schema" if omissions.takes("json_schema"):
            settings["responseMimeType"] = "application/json"
            settings["responseJsonSchema"] = struct_json(given.output_format.json_schema.schema)
        case "json_object" if omissions.takes("json_object"):
            settings["responseMimeType"] = "application/json"
        case _:
            pass
    thinking = _thinking(call, profile, omissions)
    if thinking:
        settings["thinkingConfig"] = thinking
    return settings


def _thinking(call: Call, profile: ModelProfile, omissions: Omissions) -> dict[str, Any]:
    """The thinking wanted: a level where the model has levels, else a budget within the cap."""
    effort = call.input.reasoning_effort
    if effort == Effort.REASONING_EFFORT_UNSPECIFIED:
        return {}
    name = profile.model or call.vendor_model
    way = profile.hints.get("thinking") or (
        "level" if _THREE_OR_LATER.search(name) else "budget" if "2.5" in name else ""
    )
    if profile.reasoning is False or not way:
        if effort != Effort.REASONING_EFFORT_NONE:
            omissions.omit("reasoning_effort")
        return {}
    if not omissions.takes("reasoning_effort"):
        return {}
    if way == "level":
        known = profile.reasoning_efforts or ("low", "high")
        return {"thinkingLevel": effort_word(effort, known).upper(), "includeThoughts": True}
    if effort == Effort.REASONING_EFFORT_NONE:
        # The large models cannot do without; the least they take is 128.
        return {"thinkingBudget": 128 if "pro" in name else 0}
    budget = _BUDGET_TOKENS[effort]
    if call.max_output_tokens is not None:
        budget = max(128, min(budget, call.max_output_tokens * 3 // 4))
    return {"thinkingBudget": budget, "includeThoughts": True}
