"""Recorded answers with something in them changed, removed or of another kind: each is an answer or a typed failure."""

import base64
import contextlib
import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final

import pytest

from services.providers.adapters.registry import vendors
from services.providers.adapters.wire.aws_event_stream import encode_frame
from services.providers.domain.failure import AttemptError
from services.providers.ports import Embeds, WireFormat
from tests.support import recordings

pytestmark = pytest.mark.skipif(not recordings.available(), reason=recordings.WHY_MISSING)

SPOKEN: Final = {
    "openai-chat": ("openai", "openai_chat"),
    "openai-responses": ("openai", "openai_responses"),
    "openai-embeddings": ("openai", "openai_chat"),
    "anthropic-messages": ("anthropic", "anthropic_messages"),
    "gemini": ("gemini", "gemini"),
    "gemini-embeddings": ("gemini", "gemini"),
    "bedrock-converse": ("bedrock", "bedrock_converse"),
    "bedrock-invoke": ("bedrock", "bedrock_anthropic"),
    "cohere-v2-chat": ("cohere", "cohere_chat"),
    "cohere-embed": ("cohere", "cohere_chat"),
    "ollama-native": ("ollama", "ollama_chat"),
}
JUNK: Final = (
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1" + "0" * 30,
    '""',
    '"x"',
    "[]",
    "{}",
    "[null]",
    '{"a":1}',
    '["x"]',
)
MUTANTS_PER_RECORDING: Final = 6


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:3]):
            yield from places(inner, (*path, number))


def mutated(value: Any, draw: Random) -> Any:
    """A copy with one place replaced by something of any kind, or left out."""
    copied = json.loads(json.dumps(value))
    path = draw.choice(list(places(copied)))
    junk = json.loads(draw.choice(JUNK))
    if not path:
        return junk
    holder = copied
    for key in path[:-1]:
        holder = holder[key]
    if draw.random() < 0.2 and isinstance(holder, dict):
        del holder[path[-1]]
    else:
        holder[path[-1]] = junk
    return copied


def frames(recording: recordings.Recording, changed: int, draw: Random) -> bytes:
    made = b""
    for number, frame in enumerate(recording.interaction["response"]["eventstream_decoded"]):
        payload = frame["payload"]
        if number == changed and recording.family == "bedrock-invoke":
            event = mutated(json.loads(base64.b64decode(payload["bytes"])), draw)
            payload = {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}
        elif number == changed:
            payload = mutated(payload, draw)
        made += encode_frame(frame["headers"], json.dumps(payload).encode())
    return made


def lines(body: str, changed: int, draw: Random) -> bytes:
    made = []
    for number, line in enumerate(body.replace("\r", "").split("\n")):
        head, data = ("data: ", line[5:]) if line.startswith("data:") else ("", line)
        if number == changed:
            with contextlib.suppress(ValueError):
                line = head + json.dumps(mutated(json.loads(data), draw))
        made.append(line)
    return "\n".join(made).encode()


def read_stream(wire_format: WireFormat, headers: dict[str, str], data: bytes) -> None:
    parser = wire_format.stream_parser(headers)
    parser.feed(data)
    parser.usage_so_far()
    parser.close()


def read_whole(
    wire_format: WireFormat, family: str, status: int, headers: dict[str, str], data: bytes
) -> None:
    if status != 200:
        assert wire_format.parse_error(status, headers, data).failure.message
    elif "embed" in family:
        assert isinstance(wire_format, Embeds)
        wire_format.parse_embed(headers, data)
    else:
        wire_format.parse_response(headers, data)


@pytest.mark.parametrize("family", SPOKEN)
def test_nothing_but_answers_and_typed_failures(family: str) -> None:
    provider, name = SPOKEN[family]
    wire_format = vendors()[provider].formats[name]
    draw = Random(family)
    read = 0
    for recording in recordings.recordings(family):
        response = recording.interaction["response"]
        headers = {key.lower(): value for key, value in response["headers"].items()}
        body = response["body"] or ""
        for _ in range(MUTANTS_PER_RECORDING):
            read += 1
            try:
                if response.get("eventstream_decoded"):
                    changed = draw.randrange(len(response["eventstream_decoded"]))
                    read_stream(wire_format, headers, frames(recording, changed, draw))
                elif "stream" in recording.interaction["tags"] and recording.status == 200:
                    read_stream(wire_format, headers, lines(body, draw.randrange(body.count("\n") + 1), draw))
                else:
                    data = json.dumps(mutated(json.loads(body), draw)).encode()
                    read_whole(wire_format, family, recording.status, headers, data)
            except AttemptError as error:
                assert error.failure.message
    assert read
