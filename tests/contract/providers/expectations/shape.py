"""The shape of an expectation, and how raw bodies are cut into events."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

PARTS_OF_INPUT = ("cache_read", "cache_write", "cache_write_long", "input_audio", "input_image")
PARTS_OF_OUTPUT = ("reasoning", "output_audio")


@dataclass
class Expected:
    """One answer, or one error; a stream may have both: what came, and how it failed."""

    texts: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    calls: dict[int, list[tuple[str, Any]]] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    usage: dict[str, int] | None = None
    """Counts that the vendor told; a count it did not tell is missing."""
    model: str | None = None
    cost_nanos: int | None = None
    error: str | None = None
    """Class of the error; None: it succeeds."""
    count: int | None = None
    vectors: list[list[float]] | None = None

    def add(self, what: dict[int, str], index: int, piece: Any) -> None:
        if isinstance(piece, str) and piece:
            what[index] = what.get(index, "") + piece


def arguments(text: Any) -> Any:
    """Arguments as a value; what is no JSON stays text."""
    if not isinstance(text, str):
        return {} if text is None else text
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError:
        return text


def sse(body: str) -> list[tuple[str, str]]:
    """(event name, data) of each event."""
    events = []
    for block in re.split(r"(?:\r\n|\n|\r){2,}", body):
        name, data = "", []
        for line in re.split(r"\r\n|\n|\r", block):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
        if data:
            events.append((name, "\n".join(data)))
    return events


def documents(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """All JSON objects of an answer in order: the one of a whole answer, or those of a stream."""
    response = recording["response"]
    if response.get("eventstream_decoded"):
        return [
            {"_headers": frame["headers"], **frame["payload"]} for frame in response["eventstream_decoded"]
        ]
    body = response["body"] or ""
    try:
        whole = json.loads(body)
        return whole if isinstance(whole, list) else [whole]
    except ValueError:
        pass
    found = []
    lines = sse(body)
    texts = [data for _, data in lines] if lines else body.splitlines()
    for text in texts:
        if text.strip() and text.strip() != "[DONE]":
            found.append(json.loads(text))
    return found


def is_stream(recording: dict[str, Any]) -> bool:
    """True if the answer came as a stream."""
    response = recording["response"]
    if response.get("eventstream_decoded"):
        return True
    try:
        return isinstance(json.loads(response["body"] or ""), list)
    except ValueError:
        return True


def clamped(usage: dict[str, int | None]) -> dict[str, int] | None:
    """A usage without what was not told; no part is larger than its whole.

    None without an input or an output: our own count stands in, and the figures are not the vendor's alone.
    """
    if usage.get("input") is None or usage.get("output") is None:
        return None
    known = {
        name: value for name, value in usage.items() if isinstance(value, int) and not isinstance(value, bool)
    }
    for names, whole in ((PARTS_OF_INPUT, "input"), (PARTS_OF_OUTPUT, "output")):
        for name in names:
            if name in known and whole in known:
                known[name] = min(known[name], known[whole])
    if "cache_write" in known:  # what was read was not written as well
        known["cache_write"] = min(known["cache_write"], known["input"] - known.get("cache_read", 0))
    return known


def frame_bytes(document: dict[str, Any]) -> dict[str, Any]:
    """The vendor's own object inside a frame of Bedrock's InvokeModel stream."""
    inner: dict[str, Any] = json.loads(base64.b64decode(document["bytes"]))
    return inner
