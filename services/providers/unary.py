"""Attempts outside of Dispatch: one RPC each, for callers that make few."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from services.providers.dispatch import time_left_s
from services.providers.domain.failure import AttemptError
from services.providers.errors import AttemptFailedError
from services.providers.telemetry import traced
from services.providers.use_cases.attempt import AttemptRun, Resources
from services.providers.use_cases.vectors import CountTokens, Embed
from services.providers.use_cases.witness import Witness
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

QUEUED_MAX: Final = 64
"""Deltas between the vendor and a slow reader of one RPC; gRPC's own window comes on top."""

Response = providers_pb2.StreamGenerateResponse


class _Silent:
    """Wants only the finished answer."""

    async def started(self, endpoint_id: str) -> None:
        pass

    def put(self, deltas: Sequence[content_pb2.ChoiceDelta]) -> bool:
        return True

    async def ready(self) -> None:
        pass


class _Queued:
    """Hands events to the RPC that streams them."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Response | None] = asyncio.Queue()
        self._taken = asyncio.Event()

    async def started(self, endpoint_id: str) -> None:
        self.events.put_nowait(Response(started=providers_pb2.AttemptStarted(endpoint_id=endpoint_id)))

    def put(self, deltas: Sequence[content_pb2.ChoiceDelta]) -> bool:
        for delta in deltas:
            self.events.put_nowait(Response(delta=delta))
        return self.events.qsize() < QUEUED_MAX

    async def ready(self) -> None:
        while self.events.qsize() >= QUEUED_MAX:
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> Response | None:
        event = await self.events.get()
        self._taken.set()
        return event


class UnaryCalls:
    """Generate, StreamGenerate, CountTokens and Embed."""

    def __init__(
        self, resources: Resources, witness: Witness, count_tokens: CountTokens, embed: Embed
    ) -> None:
        self._resources = resources
        self._witness = witness
        self.count_tokens = count_tokens
        self.embed = embed

    async def generate(self, attempt: providers_pb2.Attempt) -> providers_pb2.AttemptFinished:
        """The whole answer. Raises AttemptFailedError; settles by the witness if the caller goes away."""
        whole = providers_pb2.Attempt()
        whole.CopyFrom(attempt)
        whole.stream = False
        run = AttemptRun(whole, _Silent(), self._resources, time_left_s())
        try:
            return await traced(run)
        except AttemptError as error:
            raise AttemptFailedError.of(error.failure, run.endpoint_id) from error
        except asyncio.CancelledError:
            if run.failure is not None:
                self._witness.speak(whole, run.failure)
            raise

    async def stream(self, attempt: providers_pb2.Attempt) -> AsyncIterator[Response]:
        """The answer as it comes. Raises AttemptFailedError; settles by the witness if the caller goes away."""
        streamed = providers_pb2.Attempt()
        streamed.CopyFrom(attempt)
        streamed.stream = True
        sink = _Queued()
        run = AttemptRun(streamed, sink, self._resources, time_left_s())
        task = asyncio.create_task(traced(run))
        task.add_done_callback(lambda _: sink.events.put_nowait(None))
        try:
            while (event := await sink.take()) is not None:
                yield event
            try:
                finished = task.result()
            except AttemptError as error:
                raise AttemptFailedError.of(error.failure, run.endpoint_id, run.produced.deltas) from error
            yield Response(finished=finished)
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, AttemptError):
                    await task
                if run.failure is not None:
                    self._witness.speak(streamed, run.failure)
