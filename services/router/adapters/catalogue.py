"""Follows the providers service's catalogue and the health of its endpoints.

While the providers service is away the last catalogue stays in force: attempts fail typed until it is back.
"""

import asyncio
from collections.abc import Callable

import structlog

from services.chassis.channel import Remote
from services.kernel.errors import TurnpikeError
from services.router.convert_catalogue import from_pb_health, from_pb_model
from services.router.domain.catalogue import Catalogue, Health, ModelFacts
from turnpike.providers.v1 import providers_pb2 as pb
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

RECONNECT_S = 0.2

log = structlog.get_logger()


class CatalogueWatch:
    """Keeps the catalogue up to date."""

    def __init__(self, providers: Remote, take: Callable[[Catalogue], None]) -> None:
        self._providers = providers
        self._stub = ProviderServiceStub(providers.channel)
        self._take = take
        self._models: dict[str, ModelFacts] = {}
        self.ready = asyncio.Event()
        """Set once a whole catalogue is here."""

    async def run(self) -> None:
        """Follows the stream for ever, connecting again when it breaks."""
        while True:
            try:
                await self._follow()
            except TurnpikeError as error:
                log.info("catalogue stream ended", reason=error.reason)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        request = pb.WatchCatalogueRequest()
        async with self._providers.stream(self._stub.WatchCatalogue, request) as messages:
            async for message in messages:
                models = {} if message.snapshot else dict(self._models)
                models.update((model.model, from_pb_model(model)) for model in message.models)
                for removed in message.removed_models:
                    models.pop(removed, None)
                if models != self._models or not self.ready.is_set():
                    self._models = models
                    self._take(Catalogue(message.revision, models))
                self.ready.set()


class HealthWatch:
    """Keeps the health of endpoints up to date."""

    def __init__(self, providers: Remote, take: Callable[[str, Health, str, float | None], None]) -> None:
        self._providers = providers
        self._stub = ProviderServiceStub(providers.channel)
        self._take = take

    async def run(self) -> None:
        """Follows the stream for ever, connecting again when it breaks."""
        while True:
            try:
                await self._follow()
            except TurnpikeError as error:
                log.info("health stream ended", reason=error.reason)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        request = pb.WatchHealthRequest()
        async with self._providers.stream(self._stub.WatchHealth, request) as messages:
            async for message in messages:
                for endpoint in message.endpoints:
                    health, finding, retry_at_s = from_pb_health(endpoint)
                    self._take(endpoint.endpoint_id, health, finding, retry_at_s)
