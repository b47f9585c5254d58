"""Admin RPCs of the catalogue: facts that stand for the shipped ones, and price files."""

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from services.kernel.errors import InvalidRequest, NotFound
from services.providers.adapters.admin_store import StoredOverride, Transaction
from services.providers.adapters.catalogue.litellm_prices import read_price_file
from services.providers.admin.shared import AdminRpcs, check, model_ref, owning_admin
from services.providers.convert_catalogue import OVERRIDABLE, to_pb_model, with_override
from services.providers.domain.catalogue import CatalogueInvalid, CatalogueModel
from turnpike.providers.v1 import catalogue_pb2
from turnpike.providers.v1 import providers_admin_pb2 as pb


class OverrideRpcs(AdminRpcs):
    """Overrides, for all by operators, for one organisation also by its admin."""

    async def SetModelOverride(
        self, request: pb.SetModelOverrideRequest, context: object
    ) -> pb.SetModelOverrideResponse:
        """Replaces facts of a model, for all or for one organisation; facts replaced earlier stay replaced."""
        caller = owning_admin(request.organisation_id)
        ref = model_ref(request.model.model, "model.model")
        check(bool(request.update_mask.paths), "update_mask", "names no fact")
        known = self.models.get(ref, request.organisation_id) or CatalogueModel(ref)
        try:
            with_override(known, request.model, request.update_mask, self.clock.now())
        except ValueError as error:
            raise InvalidRequest.of("model", str(error)) from error

        async def work(transaction: Transaction) -> pb.SetModelOverrideResponse:
            row = await transaction.row("find_override", str(ref), request.organisation_id)
            facts, paths = catalogue_pb2.Model(model=str(ref)), []
            if row is not None:
                facts, paths = catalogue_pb2.Model.FromString(row["facts"]), list(row["paths"])
            for path in request.update_mask.paths:
                if "." not in path:
                    facts.ClearField(path)  # type: ignore[arg-type]  # with_override has checked that it is a field
            request.update_mask.MergeMessage(request.model, facts, True, True)
            union = sorted({*paths, *request.update_mask.paths})
            changed = StoredOverride(
                str(ref), request.organisation_id, facts.SerializeToString(), tuple(union)
            )
            self._check_catalogue([changed])
            await transaction.run("put_override", str(ref), request.organisation_id, changed.facts, union)
            shown = with_override(known, facts, FieldMask(paths=union), self.clock.now())
            return pb.SetModelOverrideResponse(model=to_pb_model(shown, self.clock.now()))

        change = self.change(caller, request, "model.override", str(ref))
        return await self.made(await self.store.change(change, pb.SetModelOverrideResponse, work))

    async def DeleteModelOverride(
        self, request: pb.DeleteModelOverrideRequest, context: object
    ) -> pb.DeleteModelOverrideResponse:
        """Takes an override back."""
        caller = owning_admin(request.organisation_id)
        ref = model_ref(request.model, "model")

        async def work(transaction: Transaction) -> pb.DeleteModelOverrideResponse:
            if not await transaction.run("delete_override", str(ref), request.organisation_id):
                raise NotFound("override", str(ref))
            return pb.DeleteModelOverrideResponse()

        change = self.change(caller, request, "model.override.delete", str(ref))
        response = await self.made(await self.store.change(change, pb.DeleteModelOverrideResponse, work))
        model = self.models.get(ref, request.organisation_id)
        if model is not None:
            response.model.CopyFrom(to_pb_model(model, self.clock.now()))
        return response

    async def ImportPriceFile(
        self, request: pb.ImportPriceFileRequest, context: object
    ) -> pb.ImportPriceFileResponse:
        """Loads models and prices from a file in LiteLLM's format: its facts stand for the catalogue's."""
        caller = owning_admin(request.organisation_id)
        try:
            file = read_price_file(request.content, "an imported price file")
        except ValueError as error:
            raise InvalidRequest.of("content", str(error)) from error
        moment = self.clock.now()
        response = pb.ImportPriceFileResponse(skipped=file.skipped)
        changed: list[StoredOverride] = []
        for model in file.models:
            known = self.models.catalogue.get(model.ref, request.organisation_id)
            if known is not None and known.prices == model.prices:
                continue
            facts = to_pb_model(model, moment)
            # Of a known model only the prices are taken: what else the file says is sparser than the catalogue.
            paths = ("list_prices",) if known is not None else tuple(sorted(OVERRIDABLE))
            changed.append(
                StoredOverride(model.name, request.organisation_id, facts.SerializeToString(), paths)
            )
            (response.changed if known is not None else response.added).append(model.name)
        self._check_catalogue(changed)
        if request.dry_run:
            return response

        async def work(transaction: Transaction) -> pb.ImportPriceFileResponse:
            for row in changed:
                await transaction.run(
                    "put_override", row.model, row.organisation_id, row.facts, list(row.paths)
                )
            return response

        change = self.change(caller, request, "prices.import", request.organisation_id or "all")
        return await self.made(await self.store.change(change, pb.ImportPriceFileResponse, work))

    def _check_catalogue(self, changed: Sequence[StoredOverride]) -> None:
        """Raises InvalidRequest if the catalogue would not hold together with these overrides."""
        stored = self.deployment.stored
        replaced = {(row.model, row.organisation_id) for row in changed}
        kept = [row for row in stored.overrides if (row.model, row.organisation_id) not in replaced]
        try:
            self.deployment.catalogue_with(
                type(stored)(stored.revision, stored.credentials, stored.endpoints, (*kept, *changed))
            )
        except CatalogueInvalid as error:
            raise InvalidRequest.of("model", "; ".join(error.problems[:8])) from error
