"""OpenAI's chat completions: the shape that most servers speak, each in its dialect."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.providers.adapters.wire.body import encode
from services.providers.adapters.wire.openai_chat_request import chat_request
from services.providers.adapters.wire.openai_chat_response import chat_answer
from services.providers.adapters.wire.openai_chat_stream import ChatStream
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_embeddings import embed_body, vectors
from services.providers.adapters.wire.openai_errors import parse_error_body
from services.providers.domain.failure import AttemptError
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser, Vectors


@dataclass(frozen=True, slots=True)
class OpenAIChat:
    """Chat completions in one vendor's dialect."""

    dialect: Dialect = field(default_factory=Dialect)
    provider: str = ""
    """Whose reasoning it is, where reasoning comes with proofs."""
    path: str = "/chat/completions"
    embeddings_path: str = "/embeddings"
    name: str = "openai_chat"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = chat_request(call, profile, self.dialect)
        return HttpRequest(self.path, encode(body), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        return chat_answer(headers, body, self.dialect, self.provider)

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ChatStream(headers, self.dialect, self.provider)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for vectors."""
        return HttpRequest(
            self.embeddings_path, encode(embed_body(vendor_model, texts, dimensions, self.dialect))
        )

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in `body`."""
        return vectors(headers, body, self.dialect)


FORMATS = (OpenAIChat(),)
