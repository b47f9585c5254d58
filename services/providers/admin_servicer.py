"""ProviderAdminService: endpoints, credentials, overrides of the catalogue; for operators and organisations' admins."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.access import AdminCaller, AdminRole
from services.chassis.call import current_call
from services.kernel.clock import Clock
from services.kernel.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
)
from services.kernel.ids import CredentialId, EndpointId, RequestId
from services.kernel.model_ref import PROVIDER, ModelRef
from services.kernel.pages import page_key, page_rows, page_token
from services.providers.adapters.admin_store import AdminStore, Change, StoredOverride, Transaction
from services.providers.adapters.catalogue.litellm_prices import read_price_file
from services.providers.adapters.credentials import CredentialPool
from services.providers.adapters.sealing import KeyRing
from services.providers.convert_catalogue import OVERRIDABLE, to_pb_model, with_override
from services.providers.convert_endpoints import check_endpoint, from_pb_endpoint, to_pb_config
from services.providers.deployment import Deployment
from services.providers.domain.catalogue import CatalogueInvalid, CatalogueModel
from services.providers.use_cases.endpoints import EndpointBook
from services.providers.use_cases.models import Models
from turnpike.providers.v1 import catalogue_pb2, providers_admin_pb2_grpc
from turnpike.providers.v1 import providers_admin_pb2 as pb

SECRET_LENGTH_MAX: Final = 16_384
"""A vendor's service account, as JSON, has about 2,500 characters."""
NAME_LENGTH_MAX: Final = 128
ENDPOINT_FIELDS: Final = frozenset(
    {"endpoint", "model", "base_url", "credential_id", "concurrency_max", "disabled"}
)

Request = TypeVar("Request", bound=Message)


class ProviderAdminServicer(providers_admin_pb2_grpc.ProviderAdminServiceServicer):
    """What admins may ask."""

    def __init__(
        self,
        store: AdminStore,
        deployment: Deployment,
        models: Models,
        book: EndpointBook,
        pool: CredentialPool,
        keys: KeyRing | None,
        clock: Clock,
        *,
        allow_private_http: bool,
    ) -> None:
        self._store = store
        self._deployment = deployment
        self._models = models
        self._book = book
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._allow_private_http = allow_private_http

    # ---- credentials -------------------------------------------------------------------------------------------------

    async def CreateCredential(
        self, request: pb.CreateCredentialRequest, context: object
    ) -> pb.CreateCredentialResponse:
        """Stores a secret, sealed. It is never returned."""
        given = request.credential
        caller = _owner(given.organisation_id)
        _check(bool(PROVIDER.fullmatch(given.provider)), "credential.provider", "is no provider's name")
        _check(len(given.display_name) <= NAME_LENGTH_MAX, "credential.display_name", "is too long")
        _check(0 < len(request.secret) <= SECRET_LENGTH_MAX, "secret", "is missing or too long")
        keys = self._keys
        if keys is None:
            raise PreconditionFailed(
                "Credentials cannot be stored: the deployment has set no key to seal them with."
            )
        made = pb.Credential(
            credential_id=CredentialId.new(),
            provider=given.provider,
            display_name=given.display_name,
            organisation_id=given.organisation_id,
            origin="admin",
        )
        made.created_at.FromDatetime(self._clock.now())
        sealed = keys.seal(request.secret, (made.credential_id, made.provider, made.organisation_id))

        async def work(transaction: Transaction) -> pb.CreateCredentialResponse:
            await transaction.run(
                "add_credential",
                made.credential_id,
                made.provider,
                made.organisation_id,
                made.display_name,
                sealed,
                caller.admin_token_id,
                self._clock.now(),
            )
            return pb.CreateCredentialResponse(credential=made)

        change = self._change(caller, request, "credential.create", made.credential_id)
        return await self._made(await self._store.change(change, pb.CreateCredentialResponse, work))

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: object
    ) -> pb.ListCredentialsResponse:
        """Credentials without their secrets: an organisation's admin sees his own."""
        caller = _admin(AdminRole.ORGANISATION_ADMIN)
        rows, after = page_rows(request.page_size), page_key(request.page_token, 1)
        created = {row.credential_id: row.created_at for row in self._deployment.stored.credentials}
        listed = []
        for credential in sorted(self._pool.all(), key=lambda credential: credential.credential_id):
            own = caller.role is AdminRole.OPERATOR or credential.organisation_id == caller.organisation_id
            if not own or request.provider not in ("", credential.provider):
                continue
            if after is not None and credential.credential_id <= after[0]:
                continue
            shown = pb.Credential(
                credential_id=credential.credential_id,
                provider=credential.provider,
                display_name=credential.display_name,
                organisation_id=credential.organisation_id,
                origin=credential.origin,
            )
            if credential.credential_id in created:
                shown.created_at.FromDatetime(created[credential.credential_id])
            resting_s = self._pool.resting_s(credential.credential_id)
            if resting_s is not None:
                until = self._clock.now().timestamp() + resting_s
                shown.resting_until.CopyFrom(Timestamp(seconds=int(until)))
            listed.append(shown)
        page, token = _page(listed, rows, lambda item: item.credential_id)
        return pb.ListCredentialsResponse(credentials=page, next_page_token=token)

    async def DeleteCredential(
        self, request: pb.DeleteCredentialRequest, context: object
    ) -> pb.DeleteCredentialResponse:
        """Removes a stored credential; those of the environment and of files are removed there."""
        caller = _admin(AdminRole.ORGANISATION_ADMIN)
        stored = next(
            (
                row
                for row in self._deployment.stored.credentials
                if row.credential_id == request.credential_id
            ),
            None,
        )
        if stored is not None and caller.role is not AdminRole.OPERATOR:
            if stored.organisation_id != caller.organisation_id:
                stored = None
            if stored is None:
                raise NotFound("credential", request.credential_id)

        async def work(transaction: Transaction) -> pb.DeleteCredentialResponse:
            if stored is None or not await transaction.run("delete_credential", request.credential_id):
                raise NotFound("credential", request.credential_id)
            return pb.DeleteCredentialResponse()

        change = self._change(caller, request, "credential.delete", request.credential_id)
        return await self._made(await self._store.change(change, pb.DeleteCredentialResponse, work))

    # ---- endpoints ---------------------------------------------------------------------------------------------------

    async def CreateEndpoint(
        self, request: pb.CreateEndpointRequest, context: object
    ) -> pb.CreateEndpointResponse:
        """Adds a place where a model can be called."""
        caller = _admin()
        config = pb.EndpointConfig()
        config.CopyFrom(request.endpoint)
        check_endpoint(config, allow_private_http=self._allow_private_http)
        config.endpoint.endpoint_id = config.endpoint.endpoint_id or EndpointId.new()
        config.etag = ""

        async def work(transaction: Transaction) -> pb.CreateEndpointResponse:
            name = config.endpoint.endpoint_id
            taken = self._book.get(name) is not None
            if taken or await transaction.row("add_endpoint", name, config.SerializeToString()) is None:
                raise AlreadyExists("endpoint", name)
            return pb.CreateEndpointResponse(endpoint=to_pb_config(from_pb_endpoint(config), "1"))

        change = self._change(caller, request, "endpoint.create", config.endpoint.endpoint_id)
        return await self._made(await self._store.change(change, pb.CreateEndpointResponse, work))

    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: object
    ) -> pb.ListEndpointsResponse:
        """All endpoints: of files, of vendors with a key, and of admins."""
        _admin()
        rows, after = page_rows(request.page_size), page_key(request.page_token, 1)
        etags = {row.endpoint_id: str(row.version) for row in self._deployment.stored.endpoints}
        listed = [
            to_pb_config(spec, etags.get(spec.endpoint_id, ""))
            for spec in sorted(self._book.all(), key=lambda spec: spec.endpoint_id)
            if request.model in ("", spec.model) and (after is None or spec.endpoint_id > after[0])
        ]
        page, token = _page(listed, rows, lambda item: item.endpoint.endpoint_id)
        return pb.ListEndpointsResponse(endpoints=page, next_page_token=token)

    async def UpdateEndpoint(
        self, request: pb.UpdateEndpointRequest, context: object
    ) -> pb.UpdateEndpointResponse:
        """Changes fields of an endpoint that admins made."""
        caller = _admin()
        name = request.endpoint.endpoint.endpoint_id
        for path in request.update_mask.paths:
            _check(path.split(".")[0] in ENDPOINT_FIELDS, "update_mask", f"{path} cannot be changed")

        async def work(transaction: Transaction) -> pb.UpdateEndpointResponse:
            row = await transaction.row("find_endpoint", name)
            if row is None:
                raise NotFound("endpoint", name)
            if request.endpoint.etag not in ("", str(row["version"])):
                raise EtagMismatch("endpoint", name)
            config = pb.EndpointConfig.FromString(row["config"])
            request.update_mask.MergeMessage(request.endpoint, config, True, True)
            config.endpoint.endpoint_id = name
            check_endpoint(config, allow_private_http=self._allow_private_http)
            changed = await transaction.row("change_endpoint", name, config.SerializeToString())
            return pb.UpdateEndpointResponse(
                endpoint=to_pb_config(from_pb_endpoint(config), str(changed["version"]))
            )

        change = self._change(caller, request, "endpoint.update", name)
        return await self._made(await self._store.change(change, pb.UpdateEndpointResponse, work))

    async def DeleteEndpoint(
        self, request: pb.DeleteEndpointRequest, context: object
    ) -> pb.DeleteEndpointResponse:
        """Removes an endpoint that admins made; attempts under way end as they would have."""
        caller = _admin()

        async def work(transaction: Transaction) -> pb.DeleteEndpointResponse:
            if not await transaction.run("delete_endpoint", request.endpoint_id):
                raise NotFound("endpoint", request.endpoint_id)
            return pb.DeleteEndpointResponse()

        change = self._change(caller, request, "endpoint.delete", request.endpoint_id)
        return await self._made(await self._store.change(change, pb.DeleteEndpointResponse, work))

    # ---- overrides ---------------------------------------------------------------------------------------------------

    async def SetModelOverride(
        self, request: pb.SetModelOverrideRequest, context: object
    ) -> pb.SetModelOverrideResponse:
        """Replaces facts of a model, for all or for one organisation; facts replaced earlier stay replaced."""
        caller = _owner(request.organisation_id)
        ref = _ref(request.model.model, "model.model")
        _check(bool(request.update_mask.paths), "update_mask", "names no fact")
        known = self._models.get(ref, request.organisation_id) or CatalogueModel(ref)
        try:
            with_override(known, request.model, request.update_mask, self._clock.now())
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
            shown = with_override(known, facts, FieldMask(paths=union), self._clock.now())
            return pb.SetModelOverrideResponse(model=to_pb_model(shown, self._clock.now()))

        change = self._change(caller, request, "model.override", str(ref))
        return await self._made(await self._store.change(change, pb.SetModelOverrideResponse, work))

    async def DeleteModelOverride(
        self, request: pb.DeleteModelOverrideRequest, context: object
    ) -> pb.DeleteModelOverrideResponse:
        """Takes an override back."""
        caller = _owner(request.organisation_id)
        ref = _ref(request.model, "model")

        async def work(transaction: Transaction) -> pb.DeleteModelOverrideResponse:
            if not await transaction.run("delete_override", str(ref), request.organisation_id):
                raise NotFound("override", str(ref))
            return pb.DeleteModelOverrideResponse()

        change = self._change(caller, request, "model.override.delete", str(ref))
        response = await self._made(await self._store.change(change, pb.DeleteModelOverrideResponse, work))
        model = self._models.get(ref, request.organisation_id)
        if model is not None:
            response.model.CopyFrom(to_pb_model(model, self._clock.now()))
        return response

    async def ImportPriceFile(
        self, request: pb.ImportPriceFileRequest, context: object
    ) -> pb.ImportPriceFileResponse:
        """Loads models and prices from a file in LiteLLM's format: its facts stand for the catalogue's."""
        caller = _owner(request.organisation_id)
        try:
            file = read_price_file(request.content, "an imported price file")
        except ValueError as error:
            raise InvalidRequest.of("content", str(error)) from error
        moment = self._clock.now()
        response = pb.ImportPriceFileResponse(skipped=file.skipped)
        changed: list[StoredOverride] = []
        for model in file.models:
            known = self._models.catalogue.get(model.ref, request.organisation_id)
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

        change = self._change(caller, request, "prices.import", request.organisation_id or "all")
        return await self._made(await self._store.change(change, pb.ImportPriceFileResponse, work))

    # ---- what they share ---------------------------------------------------------------------------------------------

    def _check_catalogue(self, changed: Sequence[StoredOverride]) -> None:
        """Raises InvalidRequest if the catalogue would not hold together with these overrides."""
        stored = self._deployment.stored
        replaced = {(row.model, row.organisation_id) for row in changed}
        kept = [row for row in stored.overrides if (row.model, row.organisation_id) not in replaced]
        try:
            self._deployment.catalogue_with(
                type(stored)(stored.revision, stored.credentials, stored.endpoints, (*kept, *changed))
            )
        except CatalogueInvalid as error:
            raise InvalidRequest.of("model", "; ".join(error.problems[:8])) from error

    def _change(self, caller: AdminCaller, request: Message, action: str, entity_id: str) -> Change:
        request_id = str(getattr(request, "request_id", ""))
        try:
            RequestId.parse(request_id)
        except ValueError as error:
            raise InvalidRequest.of("request_id", str(error)) from error
        content = type(request).DESCRIPTOR.full_name.encode() + request.SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).digest()
        return Change(caller.admin_token_id, request_id, digest, action, entity_id, self._clock.now())

    async def _made(self, response: Request) -> Request:
        """Puts a change in force here before it is answered; other replicas follow within a second."""
        await self._deployment.load(self._store)
        return response


def _admin(*roles: AdminRole) -> AdminCaller:
    """The admin who calls; raises PermissionDenied unless he is an operator or has one of the roles."""
    call = current_call()
    if call is None or not isinstance(call.caller, AdminCaller):
        raise PermissionDenied("an admin token")
    call.caller.require(*roles)
    return call.caller


def _owner(organisation_id: str) -> AdminCaller:
    """The admin who calls, if the organisation is his; what is for all is for operators."""
    caller = _admin(AdminRole.ORGANISATION_ADMIN)
    if caller.role is not AdminRole.OPERATOR and organisation_id != caller.organisation_id:
        raise (
            NotFound("organisation", organisation_id)
            if organisation_id
            else PermissionDenied("the role operator")
        )
    return caller


def _check(right: bool, field: str, description: str) -> None:
    if not right:
        raise InvalidRequest.of(field, description)


def _ref(text: str, field: str) -> ModelRef:
    try:
        return ModelRef.parse(text)
    except ValueError as error:
        raise InvalidRequest.of(field, str(error)) from error


def _page(items: list[Request], rows: int, name: Callable[[Request], str]) -> tuple[list[Request], str]:
    page = items[:rows]
    return page, page_token((name(page[-1]),)) if len(items) > rows else ""
