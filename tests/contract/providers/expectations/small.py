"""Counts and vectors."""

import base64
import struct
from typing import Any

from tests.contract.providers.expectations.openai_chat import usage_of
from tests.contract.providers.expectations.shape import Expected, clamped, documents


def count(recording: dict[str, Any]) -> Expected:
    """A vendor's count of a prompt."""
    [said] = documents(recording)
    return Expected(count=said.get("input_tokens", said.get("totalTokens", said.get("inputTokens"))))


def openai_embeddings(recording: dict[str, Any]) -> Expected:
    """Vectors as numbers or as base64."""
    [said] = documents(recording)
    vectors = []
    for entry in sorted(said["data"], key=lambda entry: entry.get("index", 0)):
        vector = entry["embedding"]
        if isinstance(vector, str):
            raw = base64.b64decode(vector)
            vector = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        vectors.append(vector)
    return Expected(vectors=vectors, usage=usage_of(said.get("usage"), recording["provider"]))


def gemini_embeddings(recording: dict[str, Any]) -> Expected:
    """Vectors of a batch or of one text."""
    [said] = documents(recording)
    listed = said.get("embeddings") or [said["embedding"]]
    usage = said.get("usageMetadata") or {}
    told = clamped({"input": usage.get("promptTokenCount"), "output": 0}) if usage else None
    return Expected(vectors=[entry["values"] for entry in listed], usage=told)


def cohere_embeddings(recording: dict[str, Any]) -> Expected:
    """Vectors as numbers, plain or by type."""
    [said] = documents(recording)
    embeddings = said["embeddings"]
    vectors = embeddings if isinstance(embeddings, list) else embeddings["float"]
    billed = ((said.get("meta") or {}).get("billed_units") or {}).get("input_tokens")
    return Expected(
        vectors=vectors, usage=None if billed is None else clamped({"input": billed, "output": 0})
    )
