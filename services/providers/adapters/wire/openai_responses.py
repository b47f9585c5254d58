"""OpenAI's Responses, and those who copied it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.providers.adapters.wire.body import decode_object, encode
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_errors import parse_error_body
from services.providers.adapters.wire.openai_responses_answer import responses_answer
from services.providers.adapters.wire.openai_responses_request import responses_request
from services.providers.adapters.wire.openai_responses_stream import ResponsesStream
from services.providers.domain.failure import AttemptError, unreadable
from services.providers.domain.profile import ModelProfile
from services.providers.domain.usage import count
from services.providers.ports import Answer, Call, Headers, HttpRequest, StreamParser

_COUNTED = ("model", "input", "tools", "tool_choice", "text", "reasoning", "parallel_tool_calls")


@dataclass(frozen=True, slots=True)
class OpenAIResponses:
    """Responses in one vendor's dialect."""

    dialect: Dialect = field(default_factory=Dialect)
    provider: str = ""
    """Whose proofs its reasoning carries."""
    path: str = "/responses"
    name: str = "openai_responses"

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`."""
        body, dropped = responses_request(call, profile, self.dialect)
        return HttpRequest(self.path, encode(body), dropped=dropped)

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in `body`."""
        return responses_answer(headers, body, self.dialect, self.provider)

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for one stream."""
        return ResponsesStream(headers, self.dialect, self.provider)

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an error answer means."""
        return parse_error_body(status, headers, body)

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request that asks for a prompt's count: the same request, without what only generating needs."""
        body, _ = responses_request(call, profile, self.dialect)
        counted = {name: value for name, value in body.items() if name in _COUNTED}
        return HttpRequest(f"{self.path}/input_tokens", encode(counted))

    def parse_count(self, headers: Mapping[str, str], body: bytes) -> int:
        """The count in `body`."""
        counted = count(decode_object(body).get("input_tokens"))
        if counted is None:
            raise unreadable("The vendor's answer has no count.")
        return counted


FORMATS = (OpenAIResponses(),)
