"""OpenAI-shaped embeddings: vectors come as numbers, or as base64 of little-endian 32-bit floats."""

import array
import base64
import binascii
import sys
from collections.abc import Sequence
from typing import Any

from services.providers.adapters.wire.body import arr, decode_object, obj
from services.providers.adapters.wire.openai_dialect import Dialect, chat_usage
from services.providers.adapters.wire.openai_errors import error_of
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import unreadable
from services.providers.ports import Headers, Vectors
from turnpike.common.v1 import content_pb2


def embed_body(
    vendor_model: str, texts: Sequence[str], dimensions: int | None, dialect: Dialect
) -> dict[str, Any]:
    """The request's JSON."""
    body: dict[str, Any] = {"model": vendor_model, "input": list(texts)}
    if dialect.encoding_format:
        body["encoding_format"] = "float"
    if dimensions is not None:
        body[dialect.vector_length] = dimensions
    return body


def vectors(headers: Headers, body: bytes, dialect: Dialect) -> Vectors:
    """The vectors in `body`. Raises AttemptError if it holds an error or none."""
    said = decode_object(body)
    if said.get("error"):
        raise error_of(said, 0, headers)
    listed = arr(said.get("data"))
    if not listed:
        raise unreadable("The vendor's answer has no vectors.")
    embeddings = []
    for number, entry in enumerate(listed):
        index = obj(entry).get("index")
        embeddings.append(
            content_pb2.Embedding(
                index=index if isinstance(index, int) else number, values=floats(obj(entry).get("embedding"))
            )
        )
    embeddings.sort(key=lambda embedding: embedding.index)
    usage = obj(said.get("usage"))
    if "prompt_tokens" not in usage and "total_tokens" in usage:  # Voyage: all there is, is input
        usage = {**usage, "prompt_tokens": usage["total_tokens"]}
    return Vectors(
        embeddings=embeddings,
        usage=chat_usage(usage, dialect),
        vendor_cost_nanos=dialect.cost_nanos(usage),
        vendor_request_id=request_id_of(headers),
    )


def floats(value: object) -> list[float]:
    """A vector as JSON numbers or as base64. Raises AttemptError if it is neither."""
    if isinstance(value, list) and all(isinstance(number, int | float) for number in value):
        return [float(number) for number in value]
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            decoded = array.array("f", raw)
        except (binascii.Error, ValueError):
            raise unreadable("A vector of the vendor's answer is not base64 of floats.") from None
        if sys.byteorder == "big":
            decoded.byteswap()
        return decoded.tolist()
    raise unreadable("A vector of the vendor's answer is neither numbers nor base64.")
