"""Answers of InvokeModel in other families' own bodies, as Mistral's and Llama's. Their usage is in headers."""

from typing import Any, Final

from services.providers.adapters.wire.bedrock_converse import converse_answer
from services.providers.adapters.wire.body import arr, decode_object, obj, text
from services.providers.domain.classify import request_id_of
from services.providers.domain.finish import finish_reason
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Headers
from turnpike.common.v1 import content_pb2

_TITAN_FINISHES: Final = {"FINISH": "stop", "LENGTH": "length", "CONTENT_FILTERED": "content_filtered"}


def other_family_answer(headers: Headers, body: bytes) -> Answer | None:
    """The answer of a family other than Claude; None if the body is none. Raises AttemptError for a broken one."""
    said = decode_object(body)
    if isinstance(obj(said.get("output")).get("message"), dict):
        return converse_answer(headers, said)
    words, raw = _completion(said)
    if words is None:
        return None
    message = content_pb2.Message(role=content_pb2.Role.ROLE_ASSISTANT)
    message.parts.add().text.text = words
    read = _header_count(headers, "x-amzn-bedrock-input-token-count")
    output = _header_count(headers, "x-amzn-bedrock-output-token-count")
    if read is None:
        read = count(said.get("prompt_token_count", said.get("inputTextTokenCount")))
    if output is None:
        output = count(said.get("generation_token_count"))
    choice = content_pb2.Choice(
        message=message, finish_reason=finish_reason(raw or None), finish_reason_raw=raw
    )
    usage = None if read is None and output is None else inclusive(input_tokens=read, output_tokens=output)
    return Answer([choice], usage, vendor_request_id=request_id_of(headers))


def _completion(said: dict[str, Any]) -> tuple[str | None, str]:
    """Text and the reason it ended; None if the body is no completion."""
    outputs, results = arr(said.get("outputs")), arr(said.get("results"))
    if outputs:
        return text(obj(outputs[0]).get("text")), text(obj(outputs[0]).get("stop_reason"))
    if results:
        reason = text(obj(results[0]).get("completionReason"))
        return text(obj(results[0]).get("outputText")), _TITAN_FINISHES.get(reason, reason)
    for name in ("generation", "completion"):
        if isinstance(said.get(name), str):
            return said[name], text(said.get("stop_reason"))
    return None, ""


def _header_count(headers: Headers, name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdigit() else None
