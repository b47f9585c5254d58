"""Embeddings on Amazon Bedrock: InvokeModel with the body of the model's own family, Titan's or Cohere's."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from services.providers.adapters.wire.body import arr, decode_object, encode, numbers
from services.providers.domain.classify import request_id_of
from services.providers.domain.failure import Reason, failed, unreadable
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Headers, HttpRequest, Vectors
from turnpike.common.v1 import content_pb2

COHERE_TEXTS_MAX: Final = 96


def texts_max(vendor_model: str) -> int:
    """How many texts one request may hold: Titan's takes one."""
    return COHERE_TEXTS_MAX if "cohere" in vendor_model else 1


def embed_request(vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
    """The request for vectors. Raises AttemptError for several texts where the model takes one at a time."""
    body: dict[str, Any]
    if "cohere" in vendor_model:
        body = {"texts": list(texts), "input_type": "search_document", "embedding_types": ["float"]}
        if dimensions is not None:
            body["output_dimension"] = dimensions
    elif len(texts) == 1:
        body = {"inputText": texts[0]}
        if dimensions is not None:
            body["dimensions"] = dimensions
    else:
        raise failed(
            Reason.ERROR_REASON_INVALID_REQUEST, f"{vendor_model} takes one text at a time, not {len(texts)}."
        )
    return HttpRequest(f"/model/{quote(vendor_model, safe='')}/invoke", encode(body))


def vectors(headers: Headers, body: bytes) -> Vectors:
    """The vectors in `body`. Raises AttemptError if it holds none."""
    said = decode_object(body)
    given = said.get("embeddings")
    listed = arr(given.get("float")) if isinstance(given, dict) else arr(given)
    if not listed and isinstance(said.get("embedding"), list):
        listed = [said["embedding"]]
    if not listed:
        raise unreadable("The vendor's answer has no vectors.")
    told = headers.get("x-amzn-bedrock-input-token-count", "")
    read = count(said.get("inputTextTokenCount", int(told) if told.isdigit() else None))
    usage = None if read is None else inclusive(input_tokens=read, output_tokens=0)
    embeddings = [
        content_pb2.Embedding(index=number, values=numbers(vector)) for number, vector in enumerate(listed)
    ]
    return Vectors(embeddings, usage, vendor_request_id=request_id_of(headers))
