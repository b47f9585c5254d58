"""Admin RPCs of endpoints."""

from typing import Final

from services.kernel.errors import AlreadyExists, EtagMismatch, NotFound
from services.kernel.ids import EndpointId
from services.kernel.pages import page_key, page_rows
from services.providers.adapters.admin_store import Transaction
from services.providers.admin.shared import AdminRpcs, check, current_admin, page_of
from services.providers.convert_endpoints import check_endpoint, from_pb_endpoint, to_pb_config
from turnpike.providers.v1 import providers_admin_pb2 as pb

ENDPOINT_FIELDS: Final = frozenset(
    {"endpoint", "model", "base_url", "credential_id", "concurrency_max", "disabled"}
)


class EndpointRpcs(AdminRpcs):
    """Endpoints, for operators: whoever sets an address decides where our network calls."""

    async def CreateEndpoint(
        self, request: pb.CreateEndpointRequest, context: object
    ) -> pb.CreateEndpointResponse:
        """Adds a place where a model can be called."""
        caller = current_admin()
        config = pb.EndpointConfig()
        config.CopyFrom(request.endpoint)
        check_endpoint(config, allow_private_http=self.allow_private_http)
        config.endpoint.endpoint_id = config.endpoint.endpoint_id or EndpointId.new()
        config.etag = ""

        async def work(transaction: Transaction) -> pb.CreateEndpointResponse:
            name = config.endpoint.endpoint_id
            taken = self.book.get(name) is not None
            if taken or await transaction.row("add_endpoint", name, config.SerializeToString()) is None:
                raise AlreadyExists("endpoint", name)
            return pb.CreateEndpointResponse(endpoint=to_pb_config(from_pb_endpoint(config), "1"))

        change = self.change(caller, request, "endpoint.create", config.endpoint.endpoint_id)
        return await self.made(await self.store.change(change, pb.CreateEndpointResponse, work))

    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: object
    ) -> pb.ListEndpointsResponse:
        """All endpoints: of files, of vendors with a key, and of admins."""
        current_admin()
        rows, after = page_rows(request.page_size), page_key(request.page_token, 1)
        etags = {row.endpoint_id: str(row.version) for row in self.deployment.stored.endpoints}
        listed = [
            to_pb_config(spec, etags.get(spec.endpoint_id, ""))
            for spec in sorted(self.book.all(), key=lambda spec: spec.endpoint_id)
            if request.model in ("", spec.model) and (after is None or spec.endpoint_id > after[0])
        ]
        page, token = page_of(listed, rows, lambda item: item.endpoint.endpoint_id)
        return pb.ListEndpointsResponse(endpoints=page, next_page_token=token)

    async def UpdateEndpoint(
        self, request: pb.UpdateEndpointRequest, context: object
    ) -> pb.UpdateEndpointResponse:
        """Changes fields of an endpoint that admins made."""
        caller = current_admin()
        name = request.endpoint.endpoint.endpoint_id
        for path in request.update_mask.paths:
            check(path.split(".")[0] in ENDPOINT_FIELDS, "update_mask", f"{path} cannot be changed")

        async def work(transaction: Transaction) -> pb.UpdateEndpointResponse:
            row = await transaction.row("find_endpoint", name)
            if row is None:
                raise NotFound("endpoint", name)
            if request.endpoint.etag not in ("", str(row["version"])):
                raise EtagMismatch("endpoint", name)
            config = pb.EndpointConfig.FromString(row["config"])
            request.update_mask.MergeMessage(request.endpoint, config, True, True)
            config.endpoint.endpoint_id = name
            check_endpoint(config, allow_private_http=self.allow_private_http)
            changed = await transaction.row("change_endpoint", name, config.SerializeToString())
            return pb.UpdateEndpointResponse(
                endpoint=to_pb_config(from_pb_endpoint(config), str(changed["version"]))
            )

        change = self.change(caller, request, "endpoint.update", name)
        return await self.made(await self.store.change(change, pb.UpdateEndpointResponse, work))

    async def DeleteEndpoint(
        self, request: pb.DeleteEndpointRequest, context: object
    ) -> pb.DeleteEndpointResponse:
        """Removes an endpoint that admins made; attempts under way end as they would have."""
        caller = current_admin()

        async def work(transaction: Transaction) -> pb.DeleteEndpointResponse:
            if not await transaction.run("delete_endpoint", request.endpoint_id):
                raise NotFound("endpoint", request.endpoint_id)
            return pb.DeleteEndpointResponse()

        change = self.change(caller, request, "endpoint.delete", request.endpoint_id)
        return await self.made(await self.store.change(change, pb.DeleteEndpointResponse, work))
