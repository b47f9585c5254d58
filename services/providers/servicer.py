"""ProviderService on the wire: convert, call, convert."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.chassis.batch_server import BatchServer
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest, NotFound
from services.kernel.model_ref import ModelRef
from services.kernel.pages import page_key, page_rows, page_token
from services.providers.convert import check_attempt, to_pb_endpoint
from services.providers.convert_catalogue import to_pb_model
from services.providers.domain.catalogue import CatalogueModel
from services.providers.unary import UnaryCalls
from services.providers.use_cases.endpoints import EndpointBook
from services.providers.use_cases.models import Models
from turnpike.providers.v1 import catalogue_pb2, providers_pb2, providers_pb2_grpc

AnyDispatch = BatchServer[providers_pb2.DispatchOperation, providers_pb2.DispatchEvent]


class ProviderServicer(providers_pb2_grpc.ProviderServiceServicer):
    """What other services of ours may ask."""

    def __init__(
        self,
        dispatch: AnyDispatch,
        calls: UnaryCalls,
        models: Models,
        book: EndpointBook,
        clock: Clock,
        stopping: asyncio.Event,
    ) -> None:
        self._dispatch = dispatch
        self._calls = calls
        self._models = models
        self._book = book
        self._clock = clock
        self._stopping = stopping

    async def Dispatch(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Many attempts over one stream."""
        await self._dispatch.serve(request_iterator, context)

    async def Generate(
        self, request: providers_pb2.GenerateRequest, context: object
    ) -> providers_pb2.GenerateResponse:
        """One attempt, answered as a whole."""
        check_attempt(request.attempt)
        return providers_pb2.GenerateResponse(finished=await self._calls.generate(request.attempt))

    async def StreamGenerate(
        self, request: providers_pb2.StreamGenerateRequest, context: object
    ) -> AsyncIterator[providers_pb2.StreamGenerateResponse]:
        """One attempt, answered as it comes."""
        check_attempt(request.attempt)
        async for event in self._calls.stream(request.attempt):
            yield event

    async def CountTokens(
        self, request: providers_pb2.CountTokensRequest, context: object
    ) -> providers_pb2.CountTokensResponse:
        """An estimate and a bound, or the vendor's own count."""
        return await self._calls.count_tokens(request)

    async def Embed(
        self, request: providers_pb2.EmbedRequest, context: object
    ) -> providers_pb2.EmbedResponse:
        """Vectors of texts."""
        return await self._calls.embed(request)

    async def ListModels(
        self, request: providers_pb2.ListModelsRequest, context: object
    ) -> providers_pb2.ListModelsResponse:
        """A page of the catalogue, by name."""
        rows = page_rows(request.page_size)
        after = page_key(request.page_token, 1)
        listed = [
            model
            for model in self._models.listed(request.organisation_id, request.provider)
            if (after is None or model.name > after[0])
            and (not request.usable_only or self._models.usable(model.name))
        ]
        page = listed[:rows]
        return providers_pb2.ListModelsResponse(
            models=[self._to_pb(model) for model in page],
            next_page_token=page_token((page[-1].name,)) if len(listed) > rows else "",
        )

    async def GetModel(
        self, request: providers_pb2.GetModelRequest, context: object
    ) -> providers_pb2.GetModelResponse:
        """One model of the catalogue."""
        try:
            ref = ModelRef.parse(request.model)
        except ValueError as error:
            raise InvalidRequest.of("model", str(error)) from error
        model = self._models.get(ref, request.organisation_id)
        if model is None:
            raise NotFound("model", request.model)
        return providers_pb2.GetModelResponse(model=self._to_pb(model))

    async def WatchCatalogue(
        self, request: providers_pb2.WatchCatalogueRequest, context: object
    ) -> AsyncIterator[providers_pb2.WatchCatalogueResponse]:
        """All models, then each that changed."""
        seen: dict[str, catalogue_pb2.Model] = {}
        first = True
        async for revision in self._models.changes(self._stopping):
            now = {model.name: self._to_pb(model) for model in self._models.listed()}
            yield providers_pb2.WatchCatalogueResponse(
                revision=revision,
                snapshot=first,
                models=[model for name, model in now.items() if seen.get(name) != model],
                removed_models=[name for name in seen if name not in now],
            )
            seen, first = now, False

    async def WatchHealth(
        self, request: providers_pb2.WatchHealthRequest, context: object
    ) -> AsyncIterator[providers_pb2.WatchHealthResponse]:
        """The state of all endpoints, then each change, and a heartbeat."""
        async for response in self._book.watch(self._stopping):
            yield response

    def _to_pb(self, model: CatalogueModel) -> catalogue_pb2.Model:
        endpoints = [to_pb_endpoint(spec) for spec in self._models.endpoints_of(model.name)]
        return to_pb_model(model, self._clock.now(), endpoints)
