"""Gemini's generateContent, at AI Studio and on Google's Vertex AI, with their counters and embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.providers.adapters.wire.body import arr, decode_object, encode, numbers, obj
from services.providers.adapters.wire.gemini_answer import (
    ContentStream,
    content_answer,
    parse_error_body,
)
from services.providers.adapters.wire.gemini_request import content_body
from services.providers.adapters.wire.gemini_usage import content_usage
from services.providers.domain.failure import AttemptError, unreadable
from services.providers.domain.profile import ModelProfile
from services.providers.domain.usage import count, inclusive
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser, Vectors
from turnpike.common.v1 import content_pb2


@dataclass(frozen=True, slots=True)
class Gemini:
    """generateContent below a prefix: AI Studio's is empty, Vertex names the publisher."""

    name: str = "gemini"
    prefix: str = ""

    def _path(self, vendor_model: str, method: str) -> str:
        return f"{self.prefix}/models/{vendor_model.removeprefix('models/')}:{method}"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = content_body(call, profile)
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        return HttpRequest(self._path(call.vendor_model, method), encode(body), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        return content_answer(headers, body)

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ContentStream(headers)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for the vendor's count of `call`'s prompt."""
        body, dropped = content_body(call, profile)
        counted: dict[str, Any] = {
            name: body[name] for name in ("contents", "systemInstruction", "tools") if name in body
        }
        if not self.prefix:  # AI Studio counts system text and tools only inside a whole request
            model = call.vendor_model.removeprefix("models/")
            counted = dict[str, Any](generateContentRequest={"model": f"models/{model}", **counted})
        return HttpRequest(self._path(call.vendor_model, "countTokens"), encode(counted), dropped=dropped)

    def parse_count(self, headers: Headers, body: bytes) -> int:
        """The vendor's count of a prompt."""
        counted = count(decode_object(body).get("totalTokens"))
        if counted is None:
            raise unreadable("The vendor's answer has no count of tokens.")
        return counted

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for vectors."""
        model = vendor_model.removeprefix("models/")
        body: dict[str, Any]
        if self.prefix:
            body = {"instances": [{"content": text} for text in texts]}
            if dimensions is not None:
                body["parameters"] = {"outputDimensionality": dimensions}
            return HttpRequest(self._path(model, "predict"), encode(body))
        requests: list[dict[str, Any]] = [
            {"model": f"models/{model}", "content": {"parts": [{"text": text}]}} for text in texts
        ]
        if dimensions is not None:
            for request in requests:
                request["outputDimensionality"] = dimensions
        return HttpRequest(self._path(model, "batchEmbedContents"), encode({"requests": requests}))

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in `body`."""
        said = decode_object(body)
        if said.get("error"):
            raise parse_error_body(0, headers, body)
        listed = [obj(entry) for entry in arr(said.get("embeddings"))]
        usage = content_usage(obj(said.get("usageMetadata")))
        if not listed:
            listed = [obj(obj(entry).get("embeddings")) for entry in arr(said.get("predictions"))]
            counts = [count(obj(entry.get("statistics")).get("token_count")) for entry in listed]
            if counts and None not in counts:
                usage = inclusive(input_tokens=sum(c for c in counts if c), output_tokens=0)
        if not listed:
            raise unreadable("The vendor's answer has no vectors.")
        if usage is not None and not usage.HasField("output_tokens"):
            usage.output_tokens = 0
        embeddings = []
        for number, entry in enumerate(listed):
            embeddings.append(content_pb2.Embedding(index=number, values=numbers(entry.get("values"))))
        return Vectors(embeddings, usage)


FORMATS = (Gemini(),)
