"""The vendors' wire formats from their side: requests in, answers, streams and errors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from services.providers.simulator.answers import Ask, Reply
from services.providers.simulator.scenario import Fault

_encode = msgspec.json.Encoder().encode


def json_bytes(value: object) -> bytes:
    """Compact JSON."""
    return _encode(value)


def sse(data: object, event: str = "") -> bytes:
    """One server-sent event with line feeds."""
    head = b"event: " + event.encode() + b"\n" if event else b""
    return head + b"data: " + _encode(data) + b"\n\n"


@dataclass(slots=True)
class Stream:
    """A streamed answer: what comes at once, one entry a token, and what ends it."""

    head: bytes
    tokens: list[bytes]
    tail: bytes


@dataclass(slots=True)
class Refusal:
    """An error answer."""

    status: int
    body: Mapping[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a key's limits, for the headers of the vendors that tell."""

    requests_limit: int | None = None
    requests_left: int | None = None
    tokens_limit: int | None = None
    tokens_left: int | None = None
    reset_s: float = 0.0


class Format(Protocol):
    """One wire format."""

    vendor: str
    content_type: str
    """Of its streams."""

    def read(self, body: Mapping[str, Any], path: Mapping[str, str]) -> Ask:
        """The request in words all formats share. Raises Malformed for what the vendor would call a bad request."""
        ...

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer; `created` in seconds of the epoch."""
        ...

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as a stream."""
        ...

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's answer to a request that fails by `fault`."""
        ...

    def error_event(self) -> bytes:
        """The vendor's way to say in a stream that it failed."""
        ...

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """Headers of every answer: request ids and limits."""
        ...


class Malformed(ValueError):
    """The request is not one the vendor takes; the message is what it would say."""


def text_of(content: Any) -> tuple[str, int]:
    """The texts of any vendor's content, joined, and how many parts are no text."""
    if isinstance(content, str):
        return content, 0
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return "", 0
    texts: list[str] = []
    media = 0
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            inner = part.get("text")
            if isinstance(inner, str):
                texts.append(inner)
            elif "content" in part:
                said, more = text_of(part["content"])
                texts.append(said)
                media += more
            elif part.get("type") not in ("tool_use", "thinking", "redacted_thinking", "refusal"):
                media += 1
    return "\n".join(texts), media


def required(body: Mapping[str, Any], name: str, kind: type) -> Any:
    """A field the vendor demands. Raises Malformed."""
    value = body.get(name)
    if not isinstance(value, kind):
        raise Malformed(f"you must provide a {name} parameter")
    return value
