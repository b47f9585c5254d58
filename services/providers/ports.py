"""What the use cases need from the outside, and the one port that every wire format implements.

A vendor is three things: how one gets in (`Access`), what one speaks (`WireFormat`) and what each model takes
(`ModelProfile`, data). All of it is sans-IO: bytes in, values out. Sockets, timeouts and cancellation are in one place
(adapters/http), so a wire format can be tested by handing it bytes split anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from services.providers.domain.failure import AttemptError, Failure
from services.providers.domain.profile import ModelProfile
from turnpike.common.v1 import content_pb2, usage_pb2

Headers = Mapping[str, str]
"""Response headers; names in lower case."""


@dataclass(slots=True)
class Call:
    """What to ask of a model: an attempt without money and without sockets."""

    input: content_pb2.GenerationInput
    vendor_model: str
    """Name of the model at the endpoint."""
    max_output_tokens: int | None
    """The cap that is held, sent as it is. None: only where no hold exists (replays)."""
    stream: bool
    provider: str = ""
    """Whose signatures may be sent back; those of others are dropped."""
    vendor_user: str = ""


@dataclass(slots=True)
class HttpRequest:
    """A request before authentication. `path` is appended to the endpoint's base URL; it begins with a slash."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    method: str = "POST"
    dropped: Sequence[str] = ()
    """Parameters that were left out because the model cannot take them."""


@dataclass(slots=True)
class Answer:
    """A complete answer. Of a stream `choices` is empty: the deltas were the answer."""

    choices: list[content_pb2.Choice]
    usage: usage_pb2.Usage | None
    """None: the vendor told none."""
    vendor_cost_nanos: int | None = None
    """In nano-USD, where the vendor's statement is authoritative."""
    vendor_request_id: str = ""
    vendor_model: str = ""


@dataclass(slots=True)
class Vectors:
    """Embeddings in the order of the texts."""

    embeddings: list[content_pb2.Embedding]
    usage: usage_pb2.Usage | None
    vendor_cost_nanos: int | None = None
    vendor_request_id: str = ""


class StreamParser(Protocol):
    """Reads one streamed answer. Bytes may be split anywhere, also within a character or a frame."""

    @property
    def complete(self) -> bool:
        """True once the event that ends the stream was read, or an error was: no byte after it matters."""
        ...

    def feed(self, data: bytes) -> list[content_pb2.ChoiceDelta]:
        """The deltas that `data` completes, in order. Never raises: what goes wrong is remembered for `close`."""
        ...

    def close(self) -> Answer:
        """Ends the stream. Raises AttemptError if it broke off, was unreadable or reported an error.

        The error carries the vendor's last usage where there was one.
        """
        ...

    def usage_so_far(self) -> usage_pb2.Usage | None:
        """The vendor's latest figures, for a stream that is being cut. None: it has told none yet."""
        ...


class WireFormat(Protocol):
    """What a vendor speaks. One instance serves all calls: it holds no state of a call."""

    @property
    def name(self) -> str:
        """As endpoints name it: `openai_chat`, `anthropic_messages`, …"""
        ...

    def build(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request for `call`. Raises AttemptError(UNSUPPORTED_PARAMETER) for what cannot be said, by its policy."""
        ...

    def parse_response(self, headers: Headers, body: bytes) -> Answer:
        """The answer in a body of status 200. Raises AttemptError if it holds an error or cannot be read."""
        ...

    def stream_parser(self, headers: Headers) -> StreamParser:
        """A parser for a streamed answer of status 200."""
        ...

    def parse_error(self, status: int, headers: Headers, body: bytes) -> AttemptError:
        """What an answer of another status means. Never raises; returns the error."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A wire format whose vendor counts prompts."""

    def build_count(self, call: Call, profile: ModelProfile) -> HttpRequest:
        """The request that asks for the count of `call`'s prompt."""
        ...

    def parse_count(self, headers: Headers, body: bytes) -> int:
        """The number of input tokens. Raises AttemptError if the body has none."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """A wire format whose vendor makes vectors."""

    def build_embed(self, vendor_model: str, texts: Sequence[str], dimensions: int | None) -> HttpRequest:
        """The request for one vector per text."""
        ...

    def parse_embed(self, headers: Headers, body: bytes) -> Vectors:
        """The vectors in a body of status 200. Raises AttemptError if it holds none."""
        ...


@runtime_checkable
class BoundsTexts(Protocol):
    """A wire format some of whose embedding models take few texts at a time; each request holds no more."""

    def texts_max(self, vendor_model: str) -> int:
        """How many texts one request may hold; at least one."""
        ...


class Access(Protocol):
    """How one gets in: puts a credential on a request."""

    def authorise(self, request: HttpRequest, url: str, secret: str) -> str:
        """Adds headers to `request`, or signs it as it is; returns the URL to use, usually `url` itself."""
        ...


@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider as a type: where it is, how one gets in, what it speaks. Models are data, in the catalogue."""

    name: str
    """As in `provider/model`."""
    base_url: str
    """Without a trailing slash. Empty: an endpoint must bring its own (local servers, Azure resources)."""
    access: Access
    formats: Mapping[str, WireFormat]
    """What it speaks, by name; the first is the default."""
    credential_variables: tuple[str, ...] = ()
    """Environment variables that may hold its key; the first that is set wins. Empty: it wants none."""


class Exchange(Protocol):
    """An HTTP answer under way."""

    satisfied: bool
    """Set by the reader when it has all it wants though the answer may go on: the connection is kept if it can be."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """Its headers."""
        ...

    @property
    def ended(self) -> bool:
        """True if all of it is here, so that reading will not wait."""
        ...

    async def read(self) -> bytes:
        """The bytes that are there, at least one; empty at the end. Raises AttemptError if the connection breaks."""
        ...


class Http(Protocol):
    """Sends requests to vendors."""

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_timeout_s: float,
        leaving: Callable[[], None] = ...,
    ) -> AbstractAsyncContextManager[Exchange]:
        """Sends one; the block has its answer, and leaving it early closes the connection at once.

        `leaving` is called right before the first byte leaves. Raises AttemptError; its failure says whether certainly
        nothing was sent.
        """
        ...


class DeltaSink(Protocol):
    """Takes what an attempt tells while it runs."""

    async def started(self, endpoint_id: str) -> None:
        """Bytes are about to leave for the vendor."""
        ...

    def put(self, deltas: Sequence[content_pb2.ChoiceDelta]) -> bool:
        """Takes pieces of the answer, in order. True if more may come at once; False: wait for `ready` first."""
        ...

    async def ready(self) -> None:
        """Returns when more may come: a slow reader holds a fast model back."""
        ...


class Secrets(Protocol):
    """Our credentials at vendors."""

    def choose(self, provider: str, organisation_id: str, credential_id: str) -> "Credential | None":
        """A usable credential: the named one, else one of the organisation's, else one of the deployment's.

        None: there is none, or all rest.
        """
        ...

    def report(self, credential: "Credential", failure: Failure | None) -> bool:
        """What came of using it: one that the vendor refused, or whose quota or rate is used up, rests.

        True if it rests now and another can be used in its place.
        """
        ...


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret of ours at a vendor. Its repr hides the secret."""

    credential_id: str
    provider: str
    secret: str = field(repr=False)
    organisation_id: str = ""
    """Empty: the deployment's own."""
    display_name: str = ""
    origin: str = "environment"
