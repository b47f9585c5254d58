"""Runs one recording: over HTTP by a real attempt, and in process by the stream parser alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from services.kernel.clock import SystemClock
from services.providers.adapters.access import Bearer
from services.providers.adapters.credentials import CredentialPool
from services.providers.adapters.http.client import VendorHttp
from services.providers.domain.endpoint import EndpointSpec
from services.providers.domain.failure import AttemptError
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call, CountsTokens, Embeds, Vendor, WireFormat
from services.providers.use_cases.attempt import AttemptRun, Resources
from services.providers.use_cases.endpoints import EndpointBook
from services.providers.use_cases.vectors import Small
from tests.contract.providers.replay.observed import Observed
from tests.contract.providers.replay.recording import PROVIDERS, Recording
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

MODEL = "replay/model"
# Frames of HTTP chunks that a split answer is sent in.
PIECES_OVER_HTTP = 12


@dataclass
class _Sink:
    observed: Observed

    async def started(self, endpoint_id: str) -> None:
        pass

    def put(self, deltas: Sequence[content_pb2.ChoiceDelta]) -> bool:
        self.observed.take(list(deltas))
        return True

    async def ready(self) -> None:
        pass


@dataclass
class _Playing:
    recording: Recording | None = None
    cuts: list[int] = field(default_factory=list)

    async def script(self, request: Request, connection: Connection) -> None:
        recording = self.recording
        assert recording is not None
        body = recording.body
        await connection.head(recording.status, {**recording.headers, "transfer-encoding": "chunked"})
        edges = [0, *self.cuts, len(body)]
        for begin, end in pairwise(edges):
            if end > begin:
                await connection.chunk(body[begin:end])
                await asyncio.sleep(0)
        await connection.end_stream()


class Player:
    """Serves one recording after the other, and asks for it."""

    def __init__(self, vendor: RawVendor, http: VendorHttp, playing: _Playing) -> None:
        self._vendor = vendor
        self._http = http
        self._playing = playing

    async def over_http(self, recording: Recording, cuts: list[int] | None = None) -> Observed:
        """What a real attempt makes of the recording, sent in pieces if `cuts` says where."""
        self._playing.recording, self._playing.cuts = recording, cuts or []
        wire_format = recording.wire_format
        assert wire_format is not None
        resources = self._resources(recording, wire_format)
        if recording.family == "count-tokens" or recording.family.endswith(("-embeddings", "-embed")):
            return await self._small(recording, wire_format, resources)
        return await self._attempt(recording, resources)

    def _resources(self, recording: Recording, wire_format: WireFormat) -> Resources:
        clock = SystemClock()
        book = EndpointBook(clock)
        book.replace(
            [
                EndpointSpec(
                    endpoint_id="replay",
                    model=MODEL,
                    provider=PROVIDERS.get(recording.provider, recording.provider),
                    wire_format=wire_format.name,
                    base_url=self._vendor.base_url,
                    vendor_model=recording.data.get("model") or "model",
                    needs_credential=False,
                )
            ]
        )
        vendor = Vendor("replay", "", Bearer(), {wire_format.name: wire_format})
        return Resources(
            book, self._http, CredentialPool(clock), lambda _: vendor, lambda *_: wire_format, clock
        )

    async def _attempt(self, recording: Recording, resources: Resources) -> Observed:
        observed = Observed()
        message = content_pb2.Message(
            role=content_pb2.Role.ROLE_USER,
            parts=[content_pb2.Part(text=content_pb2.TextPart(text="What is asked does not matter."))],
        )
        attempt = providers_pb2.Attempt(
            model=MODEL,
            input=content_pb2.GenerationInput(messages=[message]),
            max_output_tokens=1024,
            stream=recording.streamed or "stream" in recording.data.get("tags", ()),
        )
        try:
            finished = await AttemptRun(attempt, _Sink(observed), resources, 30.0).run()
        except AttemptError as error:
            observed.take_failure(error.failure)
        else:
            observed.take_choices(finished.choices)
            observed.take_usage(finished.usage)
            observed.model = finished.vendor_model
            if finished.HasField("vendor_cost"):
                observed.cost_nanos = finished.vendor_cost.nanos
        observed.ended()
        return observed

    async def _small(self, recording: Recording, wire_format: WireFormat, resources: Resources) -> Observed:
        observed = Observed()
        small = Small(resources)
        spec, _ = small.endpoint(MODEL, "")
        try:
            if recording.family == "count-tokens":
                assert isinstance(wire_format, CountsTokens)
                call = Call(content_pb2.GenerationInput(), spec.vendor_model, None, stream=False)
                request = wire_format.build_count(call, ModelProfile())
                observed.count = await small.ask(spec, wire_format, request, wire_format.parse_count, "")
            else:
                assert isinstance(wire_format, Embeds)
                request = wire_format.build_embed(spec.vendor_model, ["text"], None)
                vectors = await small.ask(spec, wire_format, request, wire_format.parse_embed, "")
                observed.vectors = [list(embedding.values) for embedding in vectors.embeddings]
                observed.take_usage(vectors.usage)
        except AttemptError as error:
            observed.take_failure(error.failure)
        return observed


@asynccontextmanager
async def player() -> AsyncIterator[Player]:
    """A player with its server and its HTTP client, until the block ends."""
    playing = _Playing()
    async with raw_vendor(playing.script) as vendor, VendorHttp() as http:
        yield Player(vendor, http, playing)


def in_process(recording: Recording, pieces: Iterator[bytes]) -> Observed:
    """What the stream parser makes of the recording's bytes in these pieces."""
    wire_format = recording.wire_format
    assert wire_format is not None
    observed = Observed()
    parser = wire_format.stream_parser(recording.headers)
    for piece in pieces:
        observed.take(parser.feed(piece))
        if parser.complete:
            break
    try:
        answer = parser.close()
    except AttemptError as error:
        observed.take_failure(error.failure)
    else:
        observed.take_usage(answer.usage)
        observed.model, observed.cost_nanos = answer.vendor_model, answer.vendor_cost_nanos
    observed.ended()
    return observed


def byte_by_byte(body: bytes) -> Iterator[bytes]:
    """One byte at a time."""
    return (body[position : position + 1] for position in range(len(body)))


def split_at(body: bytes, position: int) -> Iterator[bytes]:
    """Two pieces."""
    return iter((body[:position], body[position:]))


def seeded_cuts(body: bytes, seed: int) -> list[int]:
    """Places to cut at, the same for the same seed."""
    chosen = random.Random(seed)
    return sorted(chosen.randrange(1, max(2, len(body))) for _ in range(min(PIECES_OVER_HTTP, len(body))))
