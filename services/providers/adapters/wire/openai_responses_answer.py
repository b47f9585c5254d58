"""A Responses object as an answer: its items as parts, its usage, its end."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.providers.adapters.wire.body import arr, decode_object, media_of_data_url, obj, text
from services.providers.adapters.wire.openai_chat_parts import arguments, logprobs
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import AttemptError, unreadable
from services.providers.domain.finish import FinishReason, finish_reason
from services.providers.domain.usage import by_total, count, inclusive
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2, usage_pb2

Part = content_pb2.Part
PARAGRAPH = "\n\n"
"""Between the parts of a reasoning summary."""


def responses_usage(raw: object, dialect: Dialect) -> usage_pb2.Usage | None:
    """Usage in our meaning. None: there is none."""
    if not isinstance(raw, dict):
        return None
    input_details, output_details = (
        obj(raw.get("input_tokens_details")),
        obj(raw.get("output_tokens_details")),
    )
    reasoning = count(output_details.get("reasoning_tokens"))
    input_tokens, output_tokens = by_total(
        count(raw.get("input_tokens")),
        count(raw.get("output_tokens")),
        count(raw.get("total_tokens")),
        reasoning_tokens=reasoning,
    )
    if input_tokens is None and output_tokens is None:
        return None
    return inclusive(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=count(input_details.get("cached_tokens")),
        cache_write_tokens=count(input_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=count(input_details.get("audio_tokens")),
        output_audio_tokens=count(output_details.get("audio_tokens")),
        input_image_tokens=count(input_details.get("image_tokens")),
    )


def responses_answer(headers: Headers, body: bytes, dialect: Dialect, provider: str) -> Answer:
    """The answer in `body`. Raises AttemptError if it failed or is no response."""
    said = decode_object(body)
    failure = failure_in(said, headers)
    if failure is not None:
        failure.failure.usage = responses_usage(said.get("usage"), dialect)
        raise failure
    if "output" not in said and "status" not in said:
        raise unreadable("The vendor's answer has no output.")
    parts = [part for item in arr(said.get("output")) for part in item_parts(obj(item), provider)]
    reason, raw = end_of(said, parts)
    choice = content_pb2.Choice(
        message=content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT, parts=parts),
        finish_reason=reason,
        finish_reason_raw=raw,
    )
    for item in arr(said.get("output")):
        for content in arr(obj(item).get("content")):
            choice.logprobs.extend(logprobs({"content": obj(content).get("logprobs")}))
    return ending(said, headers, dialect, [choice])


def ending(
    said: Mapping[str, Any], headers: Headers, dialect: Dialect, choices: list[content_pb2.Choice]
) -> Answer:
    """What a response says beside its output."""
    return Answer(
        choices=choices,
        usage=responses_usage(said.get("usage"), dialect),
        vendor_cost_nanos=dialect.cost_nanos(obj(said.get("usage"))),
        vendor_request_id=request_id_of(headers) or text(said.get("id")),
        vendor_model=text(said.get("model")),
    )


def failure_in(said: Mapping[str, Any], headers: Headers) -> AttemptError | None:
    """The error a response holds; None if it holds none."""
    if said.get("error"):
        return error_of(said, 0, headers)
    if said.get("status") == "failed":
        return error_of({"message": "The vendor says that the response failed."}, 0, headers)
    return None


def end_of(said: Mapping[str, Any], parts: list[Part]) -> tuple[FinishReason.ValueType, str]:
    """Why it ended, in our word and the vendor's."""
    raw = text(said.get("status"))
    if raw == "incomplete":
        raw = text(obj(said.get("incomplete_details")).get("reason")) or raw
    kinds = {part.WhichOneof("kind") for part in parts}
    return (
        finish_reason(raw, has_tool_calls="tool_call" in kinds, has_refusal="refusal" in kinds),
        raw,
    )


def item_parts(item: Mapping[str, Any], provider: str) -> Iterator[Part]:
    """What one item of the output is in our words; items of server-side tools are passed over."""
    match item.get("type"):
        case "message":
            for content in arr(item.get("content")):
                content = obj(content)
                if text(content.get("refusal")):
                    yield Part(refusal=content_pb2.TextPart(text=content["refusal"]))
                elif text(content.get("text")):
                    yield Part(text=content_pb2.TextPart(text=content["text"]))
        case "function_call" | "custom_tool_call":
            yield Part(
                tool_call=content_pb2.ToolCall(
                    id=text(item.get("call_id")) or text(item.get("id")),
                    name=text(item.get("name")),
                    arguments_json=arguments(item.get("arguments", item.get("input"))) or "{}",
                )
            )
        case "reasoning":
            yield Part(reasoning=reasoning_part(item, provider))
        case "image_generation_call" if text(item.get("result")):
            kind = text(item.get("output_format")) or "png"
            yield Part(image=media_of_data_url(f"data:image/{kind};base64,{item['result']}"))
        case _:
            pass


def reasoning_part(item: Mapping[str, Any], provider: str) -> content_pb2.ReasoningPart:
    """A reasoning item: its summary, or its text where the vendor shows that, and its proof."""
    paragraphs = [text(obj(piece).get("text")) for piece in arr(item.get("summary"))]
    thought = PARAGRAPH.join(paragraph for paragraph in paragraphs if paragraph)
    if not thought:
        thought = "".join(text(obj(piece).get("text")) for piece in arr(item.get("content")))
    return content_pb2.ReasoningPart(
        text=thought,
        signature=text(item.get("encrypted_content")).encode(),
        provider=provider,
        id=text(item.get("id")),
        redacted=not thought,
    )
