"""Made-up vectors and counts of the simulated vendors."""

import base64
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from services.providers.simulator.answers import BYTES_PER_TOKEN, Ask
from services.providers.simulator.formats import Malformed

DIMENSIONS: Final = 256
DIMENSIONS_MAX: Final = 4_096
TEXTS_MAX: Final = 2_048


def embedding_answer(vendor: str, body: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Vectors for the texts of a request; the same text has the same vector. Raises Malformed."""
    if vendor == "gemini":
        requests = body.get("requests")
        if not isinstance(requests, list) or not requests:
            raise Malformed("* BatchEmbedContentsRequest.requests: at least one is required")
        texts = ["".join(part.get("text", "") for part in one["content"]["parts"]) for one in requests]
        size = _size(requests[0].get("outputDimensionality"))
        vectors = _vectors(texts, size, seed)
        return {"embeddings": [{"values": vector} for vector in vectors]}
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given or []
    if not texts or len(texts) > TEXTS_MAX or not all(isinstance(text, str) for text in texts):
        raise Malformed(f"'input' must be 1 to {TEXTS_MAX} texts")
    vectors = _vectors(texts, _size(body.get("dimensions") or body.get("output_dimension")), seed)
    packed = body.get("encoding_format") == "base64"
    tokens = sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _packed(vector) if packed else vector}
            for number, vector in enumerate(vectors)
        ],
        "model": body.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def count_answer(vendor: str, ask: Ask) -> dict[str, Any]:
    """The vendor's count of a prompt."""
    if vendor == "gemini":
        return {"totalTokens": ask.input_tokens}
    return {"input_tokens": ask.input_tokens}


def _size(wanted: Any) -> int:
    if wanted is None:
        return DIMENSIONS
    if not isinstance(wanted, int) or not 1 <= wanted <= DIMENSIONS_MAX:
        raise Malformed(f"dimensions must be 1 to {DIMENSIONS_MAX}")
    return wanted


def _vectors(texts: Sequence[str], size: int, seed: int) -> list[list[float]]:
    vectors = []
    for text in texts:
        digest = hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()
        draw = Random(digest)  # noqa: S311 -- repeatable is what is wanted
        values = [draw.gauss(0.0, 1.0) for _ in range(size)]
        length = math.sqrt(sum(value * value for value in values))
        vectors.append([value / length for value in values])
    return vectors


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
