"""The RPCs of BudgetService about who may call; core's servicer inherits them."""

from collections.abc import AsyncIterator

from services.budget.admin_ports import AdminStore
from services.budget.convert_directory import to_pb_directory, to_pb_directory_key
from services.budget.convert_entities import to_pb_entity
from services.budget.domain.checks import Checks
from services.budget.use_cases.directory import Directory, authenticate_admin
from services.kernel.clock import Clock
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1 import budget_pb2_grpc
from turnpike.budget.v1.entities_pb2 import AdminToken

HASH_BYTES = 32


class DirectoryRpcs(budget_pb2_grpc.BudgetServiceServicer):
    """WatchDirectory, Authenticate and AuthenticateAdmin, for services of ours."""

    def __init__(self, directory: Directory, store: AdminStore, clock: Clock) -> None:
        self._directory = directory
        self._admins = store
        self._clock = clock

    async def WatchDirectory(
        self, request: pb.WatchDirectoryRequest, context: object
    ) -> AsyncIterator[pb.WatchDirectoryResponse]:
        async for message in self._directory.watch(request.after_revision):
            for part in to_pb_directory(message):
                yield part

    async def Authenticate(self, request: pb.AuthenticateRequest, context: object) -> pb.AuthenticateResponse:
        key, revision = await self._directory.authenticate(_hash(request.secret_hash))
        return pb.AuthenticateResponse(key=to_pb_directory_key(key), revision=revision)

    async def AuthenticateAdmin(
        self, request: pb.AuthenticateAdminRequest, context: object
    ) -> pb.AuthenticateAdminResponse:
        token = await authenticate_admin(self._admins, self._clock, _hash(request.secret_hash))
        return pb.AuthenticateAdminResponse(admin_token=to_pb_entity(token, AdminToken))


def _hash(value: bytes) -> bytes:
    checks = Checks()
    checks.require(len(value) == HASH_BYTES, "secret_hash", "must be a SHA-256: 32 bytes")
    checks.done()
    return value
