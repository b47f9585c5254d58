"""The catalogue and the endpoints as one: which models there are, and where each can be called."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Final

from services.kernel.clock import Clock
from services.kernel.model_ref import ModelRef
from services.providers.domain.catalogue import Catalogue, CatalogueModel, LifecycleStage
from services.providers.domain.endpoint import EndpointSpec
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Vendor
from services.providers.use_cases.counting import tokenizer_of
from services.providers.use_cases.endpoints import EndpointBook

UNKNOWN_TOKENIZER: Final = "bytes"


class Models:
    """What can be asked of this deployment. A change makes a new catalogue and a new set of endpoints at once."""

    def __init__(
        self,
        catalogue: Catalogue,
        book: EndpointBook,
        vendor_named: Callable[[str], Vendor],
        vendors: Iterable[Vendor],
        has_credential: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._book = book
        self._vendor_named = vendor_named
        self._vendors = {vendor.name: vendor for vendor in vendors}
        self._has_credential = has_credential
        self._clock = clock
        self._written: tuple[EndpointSpec, ...] = ()
        self._changed: set[asyncio.Event] = set()
        self.catalogue = catalogue
        self.revision = 0
        """Grows with every change of a model or an endpoint."""

    def put(self, catalogue: Catalogue, written: Iterable[EndpointSpec]) -> None:
        """This catalogue and these endpoints from now on; those of vendors with a key join by themselves."""
        self.catalogue = catalogue
        self._written = tuple(written)
        self._rebuild()

    def _rebuild(self) -> None:
        specs = [self._completed(spec) for spec in self._written]
        taken = {spec.endpoint_id for spec in specs}
        specs.extend(spec for spec in self._of_vendors() if spec.endpoint_id not in taken)
        self._book.replace(specs)
        self.revision += 1
        for event in self._changed:
            event.set()

    def _of_vendors(self) -> Iterable[EndpointSpec]:
        """One endpoint for each current model of each vendor that we have a key for, and that is at a known place."""
        moment = self._clock.now()
        for model in self.catalogue.models():
            vendor = self._vendors.get(model.ref.provider)
            if vendor is None or not vendor.base_url or not self._has_credential(vendor.name):
                continue
            if model.stage_at(moment) is LifecycleStage.RETIRED:
                continue
            yield self._completed(
                EndpointSpec(
                    endpoint_id=model.name,
                    model=model.name,
                    provider=vendor.name,
                    wire_format="",
                    base_url=vendor.base_url,
                    vendor_model="",
                )
            )

    def _completed(self, spec: EndpointSpec) -> EndpointSpec:
        """`spec` with what the catalogue knows: wire format, the vendor's name for it, profile, tokenizer."""
        ref = ModelRef.parse(spec.model)
        model = self.catalogue.get(ref)
        vendor = self._vendor_named(ref.provider)
        vendor_model = spec.vendor_model or (model.vendor_model if model else "") or ref.model
        spoken = spec.wire_format or next(
            (name for name in (model.wire_formats if model else ()) if name in vendor.formats),
            next(iter(vendor.formats), ""),
        )
        known_tokenizer = (
            model.tokenizer if model is not None and model.tokenizer != UNKNOWN_TOKENIZER else ""
        )
        return replace(
            spec,
            wire_format=spoken,
            vendor_model=vendor_model,
            profile=model.profile() if model is not None else ModelProfile(model=spec.model),
            tokenizer=tokenizer_of(known_tokenizer, vendor_model),
        )

    def usable(self, name: str) -> bool:
        """True if the model has an endpoint that is not turned off."""
        return bool(self._book.of_model(name))

    def endpoints_of(self, name: str) -> list[EndpointSpec]:
        """The model's endpoints."""
        return self._book.of_model(name)

    def listed(self, organisation_id: str = "", provider: str = "") -> list[CatalogueModel]:
        """The models as an organisation sees them, and those that only endpoints speak of, by name."""
        models = {model.name: model for model in self.catalogue.models(organisation_id, provider)}
        for spec in self._book.all():
            if spec.model not in models and provider in ("", spec.provider):
                models[spec.model] = CatalogueModel(ModelRef.parse(spec.model), tokenizer=spec.tokenizer)
        return [models[name] for name in sorted(models)]

    def get(self, ref: ModelRef, organisation_id: str = "") -> CatalogueModel | None:
        """One model as an organisation sees it; None if neither the catalogue nor an endpoint knows it."""
        model = self.catalogue.get(ref, organisation_id)
        if model is None and self._book.of_model(str(ref)):
            model = CatalogueModel(ref)
        return model

    async def changes(self, stopping: asyncio.Event) -> AsyncIterator[int]:
        """The revision now, and after each change, until the process stops."""
        changed = asyncio.Event()
        self._changed.add(changed)
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                changed.clear()
                yield self.revision
                waiting = asyncio.create_task(changed.wait())
                try:
                    await asyncio.wait((waiting, stop), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
        finally:
            stop.cancel()
            self._changed.discard(changed)
