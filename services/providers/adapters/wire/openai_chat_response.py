"""A whole chat completion as an answer."""

from collections.abc import Mapping
from typing import Any, Final

from services.providers.adapters.wire.body import arr, decode_object, index_or, media_of_data_url, obj, text
from services.providers.adapters.wire.openai_chat_parts import (
    call_signature,
    logprobs,
    named,
    pieces,
    reasoning_of,
)
from services.providers.adapters.wire.openai_dialect import Dialect, chat_usage
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import unreadable
from services.providers.domain.finish import finish_reason
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2

Part = content_pb2.Part

_BESIDE_TEXT: Final = frozenset(
    {
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "refusal",
        "images",
        "audio",
        "tool_calls",
        "function_call",
    }
)
"""What a message may hold beside its content; null means nothing."""


def chat_answer(headers: Headers, body: bytes, dialect: Dialect, provider: str) -> Answer:
    """The answer in `body`. Raises AttemptError if it holds an error or no choices."""
    said = decode_object(body)
    usage = chat_usage(said.get("usage"), dialect)
    if said.get("error") and not said.get("choices"):
        error = error_of(said, 0, headers)
        error.failure.usage = usage
        raise error
    choices = said.get("choices")
    broken = _error_instead(choices)
    if broken:
        error = error_of({"error": broken}, 0, headers)
        error.failure.usage = usage
        raise error
    if not isinstance(choices, list):
        if said.get("object") == "error" or "detail" in said:
            raise error_of(said, 0, headers)
        base = obj(said.get("base_resp"))  # MiniMax
        if base.get("status_code"):
            raise error_of({"message": base.get("status_msg"), "code": base["status_code"]}, 0, headers)
        raise unreadable("The vendor's answer has no choices.")
    return Answer(
        choices=[_choice(choice, number, provider) for number, choice in enumerate(choices)],
        usage=usage,
        vendor_cost_nanos=dialect.cost_nanos(obj(said.get("usage"))),
        vendor_request_id=request_id_of(headers) or text(said.get("id")),
        vendor_model=text(said.get("model")),
    )


def _error_instead(choices: object) -> Mapping[str, Any]:
    """The error of an only choice that says nothing (OpenRouter, when its upstream broke); empty if there is none."""
    only = obj(choices[0]) if isinstance(choices, list) and len(choices) == 1 else {}
    said = obj(only.get("message"))
    return {} if said.get("content") or said.get("tool_calls") else obj(only.get("error"))


def _choice(choice: Any, number: int, provider: str) -> content_pb2.Choice:
    choice = obj(choice)
    made = content_pb2.Choice(index=index_or(choice.get("index"), number))
    made.message.role = content_pb2.ROLE_ASSISTANT
    parts = made.message.parts
    said = choice.get("message")
    raw = text(choice.get("finish_reason"))
    made.finish_reason_raw = raw
    if isinstance(said, dict) and said:
        content = said.get("content")
        if content and type(content) is str and not any(said[name] for name in said.keys() & _BESIDE_TEXT):
            parts.add().text.text = content  # most answers are this
        else:
            parts.extend(_parts(said, provider))
    elif text(choice.get("text")):  # the old completions shape
        parts.add().text.text = choice["text"]
    kinds = {part.WhichOneof("kind") for part in parts}
    made.finish_reason = finish_reason(
        raw, has_tool_calls="tool_call" in kinds, has_refusal="refusal" in kinds
    )
    if choice.get("logprobs"):
        made.logprobs.extend(logprobs(choice["logprobs"]))
    return made


def _parts(message: Mapping[str, Any], provider: str) -> list[Part]:
    parts: list[Part] = []
    beside = reasoning_of(message, provider)
    if beside is not None:
        parts.append(Part(reasoning=beside))
    for kind, piece in pieces(message.get("content")):
        match kind:
            case "text":
                parts.append(Part(text=content_pb2.TextPart(text=piece)))
            case "reasoning":
                parts.append(Part(reasoning=content_pb2.ReasoningPart(text=piece, provider=provider)))
            case "refusal":
                parts.append(Part(refusal=content_pb2.TextPart(text=piece)))
            case _:
                parts.append(Part(image=media_of_data_url(piece)))
    if text(message.get("refusal")):
        parts.append(Part(refusal=content_pb2.TextPart(text=message["refusal"])))
    for image in arr(message.get("images")):
        url = text(obj(obj(image).get("image_url")).get("url"))
        if url:
            parts.append(Part(image=media_of_data_url(url)))
    audio = obj(message.get("audio"))
    if audio:
        if text(audio.get("transcript")):
            parts.append(Part(text=content_pb2.TextPart(text=audio["transcript"])))
        parts.append(Part(audio=media_of_data_url(f"data:audio;base64,{text(audio.get('data'))}")))
    for number, call in enumerate(arr(message.get("tool_calls"))):
        parts.append(Part(tool_call=_call(obj(call), number)))
    legacy = obj(message.get("function_call"))
    if legacy:
        parts.append(Part(tool_call=_call({"function": legacy}, 0)))
    return parts


def _call(call: Mapping[str, Any], number: int) -> content_pb2.ToolCall:
    name, given = named(call)
    return content_pb2.ToolCall(
        id=text(call.get("id")) or f"call_{number}",
        name=name,
        arguments_json=given or "{}",
        signature=call_signature(call),
    )
