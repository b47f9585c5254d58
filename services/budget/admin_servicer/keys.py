"""RPCs for tenants' keys and admins' tokens."""

from datetime import timedelta

from services.budget import convert_entities as convert
from services.budget.admin_servicer.calls import asking, changing
from services.budget.admin_servicer.entities import list_page
from services.budget.convert_entities import to_pb_entity
from services.budget.domain.checks import Checks
from services.budget.domain.kinds import ADMIN_TOKEN, KEY
from services.budget.use_cases.entities import Entities
from services.budget.use_cases.keys import AdminTokens, Keys
from services.kernel.clock import Clock
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc
from turnpike.budget.v1 import entities_pb2 as entities_pb

GRACE_SECONDS_MAX = 2_592_000


class KeyRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Keys and admin tokens."""

    def __init__(self, entities: Entities, keys: Keys, tokens: AdminTokens, clock: Clock) -> None:
        self._entities = entities
        self._keys = keys
        self._tokens = tokens
        self._clock = clock

    async def CreateKey(self, request: pb.CreateKeyRequest, context: object) -> pb.CreateKeyResponse:
        new = convert.from_pb_new(request, convert.KEY_SHAPE)
        made = await self._keys.create(new, changing(request, self._clock))
        return pb.CreateKeyResponse(key=to_pb_entity(made.entity, entities_pb.Key), secret=made.secret)

    async def GetKey(self, request: pb.GetKeyRequest, context: object) -> pb.GetKeyResponse:
        key = await self._entities.get(KEY, request.key_id, asking())
        return pb.GetKeyResponse(key=to_pb_entity(key, entities_pb.Key))

    async def ListKeys(self, request: pb.ListKeysRequest, context: object) -> pb.ListKeysResponse:
        page, token = await list_page(
            self._entities, KEY, request, entities_pb.Key, parent_id=request.project_id
        )
        return pb.ListKeysResponse(keys=page, next_page_token=token)

    async def UpdateKey(self, request: pb.UpdateKeyRequest, context: object) -> pb.UpdateKeyResponse:
        update = convert.from_pb_update(request, convert.KEY_SHAPE)
        key = await self._entities.update(KEY, update, changing(request, self._clock))
        return pb.UpdateKeyResponse(key=to_pb_entity(key, entities_pb.Key))

    async def RotateKey(self, request: pb.RotateKeyRequest, context: object) -> pb.RotateKeyResponse:
        checks = Checks()
        convert.check_named(checks, request, KEY)
        good = 0 <= request.grace_seconds <= GRACE_SECONDS_MAX
        checks.require(good, "grace_seconds", f"must be 0 to {GRACE_SECONDS_MAX}")
        checks.done()
        grace = timedelta(seconds=request.grace_seconds)
        made = await self._keys.rotate(request.key_id, grace, changing(request, self._clock))
        return pb.RotateKeyResponse(key=to_pb_entity(made.entity, entities_pb.Key), secret=made.secret)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: object) -> pb.RevokeKeyResponse:
        checks = Checks()
        convert.check_named(checks, request, KEY)
        checks.done()
        key = await self._keys.revoke(request.key_id, changing(request, self._clock))
        return pb.RevokeKeyResponse(key=to_pb_entity(key, entities_pb.Key))

    async def CreateAdminToken(
        self, request: pb.CreateAdminTokenRequest, context: object
    ) -> pb.CreateAdminTokenResponse:
        new = convert.from_pb_new(request, convert.ADMIN_TOKEN_SHAPE)
        made = await self._tokens.create(new, changing(request, self._clock))
        token = to_pb_entity(made.entity, entities_pb.AdminToken)
        return pb.CreateAdminTokenResponse(admin_token=token, secret=made.secret)

    async def ListAdminTokens(
        self, request: pb.ListAdminTokensRequest, context: object
    ) -> pb.ListAdminTokensResponse:
        page, token = await list_page(self._entities, ADMIN_TOKEN, request, entities_pb.AdminToken)
        return pb.ListAdminTokensResponse(admin_tokens=page, next_page_token=token)

    async def RevokeAdminToken(
        self, request: pb.RevokeAdminTokenRequest, context: object
    ) -> pb.RevokeAdminTokenResponse:
        checks = Checks()
        convert.check_named(checks, request, ADMIN_TOKEN)
        checks.done()
        token = await self._tokens.revoke(request.admin_token_id, changing(request, self._clock))
        return pb.RevokeAdminTokenResponse(admin_token=to_pb_entity(token, entities_pb.AdminToken))
