"""Requests of ours that each use one feature of the content model, to be said to every vendor."""

from collections.abc import Callable
from typing import Any, Final

from turnpike.common.v1 import content_pb2 as pb

PNG: Final = b"\x89PNG\r\n\x1a\n picture"
PDF: Final = b"%PDF-1.7 document"
WEATHER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
OUTPUT_TOKENS_MAX: Final = 4_000


def _plain() -> pb.GenerationInput:
    made = pb.GenerationInput()
    made.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Hello"
    return made


def _system() -> pb.GenerationInput:
    made = pb.GenerationInput()
    made.messages.add(role=pb.ROLE_SYSTEM).parts.add().text.text = "Be brief."
    made.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Hello"
    return made


def _turns() -> pb.GenerationInput:
    made = _system()
    made.messages.add(role=pb.ROLE_ASSISTANT).parts.add().text.text = "Hello!"
    made.messages.add(role=pb.ROLE_USER).parts.add().text.text = "And now?"
    return made


def _image() -> pb.GenerationInput:
    made = _plain()
    image = made.messages[0].parts.add().image
    image.data, image.media_type = PNG, "image/png"
    return made


def _image_url() -> pb.GenerationInput:
    made = _plain()
    image = made.messages[0].parts.add().image
    image.url, image.media_type = "https://example.com/a.png", "image/png"
    return made


def _document() -> pb.GenerationInput:
    made = _plain()
    file = made.messages[0].parts.add().file
    file.data, file.media_type = PDF, "application/pdf"
    file.filename = "report.pdf"
    return made


def _tools() -> pb.GenerationInput:
    made = _plain()
    made.tools.add(name="weather", description="Tells the weather.").parameters_schema.update(WEATHER)
    made.tools.add(name="now").parameters_schema.update({"type": "object", "properties": {}})
    return made


def _tool_named() -> pb.GenerationInput:
    made = _tools()
    made.tool_choice.tool_name = "weather"
    return made


def _tool_required() -> pb.GenerationInput:
    made = _tools()
    made.tool_choice.mode = pb.TOOL_MODE_REQUIRED
    return made


def _tool_none() -> pb.GenerationInput:
    made = _tools()
    made.tool_choice.mode = pb.TOOL_MODE_NONE
    return made


def _tool_results() -> pb.GenerationInput:
    made = _tools()
    called = made.messages.add(role=pb.ROLE_ASSISTANT)
    called.parts.add().text.text = "Let me see."
    for number, city in ((1, "Paris"), (2, "Rome")):
        call = pb.ToolCall(id=f"call_{number}", name="weather", arguments_json=f'{{"city":"{city}"}}')
        called.parts.add().tool_call.CopyFrom(call)
    answered = made.messages.add(role=pb.ROLE_TOOL)
    for number, text in ((1, '{"sky":"blue"}'), (2, "no data")):
        result = answered.parts.add().tool_result
        result.tool_call_id, result.name = f"call_{number}", "weather"
        result.is_error = number == 2
        result.parts.add().text.text = text
    return made


def _schema() -> pb.GenerationInput:
    made = _plain()
    made.output_format.json_schema.name = "weather"
    made.output_format.json_schema.schema.update(WEATHER)
    return made


def _sampling() -> pb.GenerationInput:
    made = _plain()
    made.sampling.temperature, made.sampling.top_p, made.sampling.top_k = 0.5, 0.75, 20
    made.stop.extend(["END", "STOP"])
    return made


def _reasoning() -> pb.GenerationInput:
    made = _plain()
    made.reasoning_effort = pb.REASONING_EFFORT_MEDIUM
    return made


def _cache() -> pb.GenerationInput:
    made = _system()
    made.messages[0].parts[0].cache = pb.CACHE_LIFETIME_LONG
    made.messages[1].parts[0].cache = pb.CACHE_LIFETIME_SHORT
    made.tools.add(name="weather", cache=pb.CACHE_LIFETIME_SHORT).parameters_schema.update(WEATHER)
    return made


FEATURES: Final[dict[str, Callable[[], pb.GenerationInput]]] = {
    "plain": _plain,
    "system": _system,
    "turns": _turns,
    "image": _image,
    "image_url": _image_url,
    "document": _document,
    "tools": _tools,
    "tool_named": _tool_named,
    "tool_required": _tool_required,
    "tool_none": _tool_none,
    "tool_results": _tool_results,
    "schema": _schema,
    "sampling": _sampling,
    "reasoning": _reasoning,
    "cache": _cache,
}
