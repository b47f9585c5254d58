"""Requests that vendors' clients once sent and vendors took: ours for the same conversation say the same.

A recorded body is read by code that imports nothing of the services, sent by the adapter, and what it sends is read
again by the same code: both readings must agree. What a reading cannot hold is told apart by the reader itself.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from services.providers.adapters.registry import format_of
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.contract.providers.replay.recording import FORMATS, PROVIDERS
from tests.support import recordings
from tests.support.recorded_requests import families, read_request
from turnpike.common.v1 import content_pb2

pytestmark = pytest.mark.skipif(not recordings.available(), reason=recordings.WHY_MISSING)

COMPARED_MIN = 400
"""Of the recordings at hand; fewer would mean that the reader has lost its words."""


def recorded() -> Iterator[recordings.Recording]:
    for recording in recordings.recordings(*families()):
        body = recording.request_body
        if recording.family in FORMATS and isinstance(body, dict) and 200 <= recording.status < 300:
            yield recording


def said(given: content_pb2.GenerationInput) -> dict[str, Any]:
    """What a request says, without what the rules of translation may change (docs/decisions/0029)."""
    whole = MessageToDict(given)
    sides: list[dict[str, Any]] = []
    system: list[Any] = []
    for message in whole.pop("messages", []):
        parts = [kept for part in message.get("parts", []) if (kept := said_by(part)) is not None]
        if message["role"] == "ROLE_SYSTEM":
            system += parts  # may be hoisted
        elif parts:
            side = "model" if message["role"] == "ROLE_ASSISTANT" else "user"
            if sides and sides[-1]["side"] == side:
                sides[-1]["parts"] += parts
            else:
                sides.append({"side": side, "parts": parts})
    wanted = whole.get("outputFormat", {}).get("jsonSchema", {})
    if wanted.get("name") == "output":
        del wanted["name"]  # given to a schema without a name, because most want one
    for tool in whole.get("tools", []):
        schema = tool.get("parametersSchema", {})
        if not schema.get("properties"):
            tool.pop("parametersSchema", None)  # a tool without parameters may say so by having no schema
    return {**whole, "system": system, "sides": sides}


def said_by(part: dict[str, Any]) -> Any:
    if part.get("text") in ({}, {"text": ""}) and len(part) == 1:
        return None
    if "reasoning" in part:
        return None  # goes back only to whoever signed it; test_translation.py says when
    if "toolCall" in part:
        call = part["toolCall"]
        return {"calls": call["name"], "with": json.loads(call.get("argumentsJson") or "{}")}
    if "toolResult" in part:
        return {"result": part["toolResult"].get("parts", [])}
    return part


def test_recorded_requests_are_said_again() -> None:
    outcomes: Counter[str] = Counter()
    different: list[str] = []
    for recording in recorded():
        read = read_request(recording.family, recording.request_body)
        provider = PROVIDERS.get(recording.provider, recording.provider)
        speaks = format_of(provider, FORMATS[recording.family])
        if read.left_out or speaks is None or not read.input.messages:
            outcomes["beyond our words"] += 1
            continue
        stream = bool(recording.request_body.get("stream"))
        cap = read.input.max_output_tokens or None
        call = Call(read.input, recording.model or "model", cap, stream, provider=provider)
        ours = read_request(recording.family, json.loads(speaks.build(call, ModelProfile()).body))
        same = not ours.left_out and said(ours.input) == said(read.input)
        outcomes["same" if same else "different"] += 1
        if not same:
            different.append(recording.file)
    assert not different
    assert outcomes["same"] >= COMPARED_MIN, outcomes
