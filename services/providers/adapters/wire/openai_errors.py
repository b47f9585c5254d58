"""Errors of OpenAI's shape and of all that look like it: object or string, code as word or number, `detail`, flat."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.wire.body import arr, decode, obj, text
from services.providers.domain.classify import vendor_error
from services.providers.domain.failure import AttemptError


def parse_error_body(status: int, headers: Mapping[str, str], body: bytes) -> AttemptError:
    """What an answer of an error status means."""
    try:
        said = decode(body)
    except ValueError:
        said = None
    if isinstance(said, list) and said:  # Gemini's OpenAI-shaped endpoint wraps the object in an array
        said = said[0]
    return error_of(said if isinstance(said, dict) else {}, status, headers)


def error_of(said: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> AttemptError:
    """What an error object means. `status` 0: inside a stream, where the object may tell its own."""
    error = said.get("error")
    if isinstance(error, str):  # xAI: {"code": …, "error": "text"}; Ollama: {"error": "text"}
        return _error({**said, "message": error}, {}, status, headers)
    if isinstance(error, dict):
        return _error(error, said, status, headers)
    return _error(said, {}, status, headers)


def _error(
    error: Mapping[str, Any], around: Mapping[str, Any], status: int, headers: Mapping[str, str]
) -> AttemptError:
    words = [_word(error.get(name)) for name in ("code", "type", "status", "error_type")]
    inner = obj(error.get("innererror")) or obj(error.get("inner_error"))
    words.append(_word(inner.get("code")))
    metadata = obj(error.get("metadata"))  # OpenRouter: what its upstream said
    message = _message(error)
    raw = text(metadata.get("raw"))
    if raw:
        message = f"{message}: {raw}" if message else raw
    told = (error.get("status_code"), error.get("code"), around.get("status_code"))
    if not status:
        status = next((own for own in told if isinstance(own, int) and 300 <= own < 600), 0)
    return vendor_error(
        status,
        headers,
        words=words,
        message=message,
        code=next((word for word in words if word), ""),
        parameter=text(error.get("param")),
        request_id=text(around.get("request_id")),
    )


def _word(value: object) -> str:
    """A code as a word; numbers say nothing that the status does not."""
    return value if isinstance(value, str) and not value.isdigit() else ""


def _message(error: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "error", "msg", "title"):
        said = error.get(name)
        if isinstance(said, str) and said:
            return said
        if isinstance(said, list):  # FastAPI's validation errors
            parts = [
                f"{'.'.join(map(str, arr(obj(item).get('loc'))))}: {obj(item).get('msg', '')}"
                for item in said
            ]
            return "; ".join(parts)
        if isinstance(said, dict):  # Mistral puts a whole validation error under `message`
            inner = _message(said)
            if inner:
                return inner
    for listed in arr(error.get("errors")):  # Cloudflare
        if text(obj(listed).get("message")):
            return str(listed["message"])
    return ""
