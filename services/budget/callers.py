"""Who may use BudgetService: services of ours, and keys that meter model calls of their own."""

from services.budget.convert import KeyCaller
from services.budget.domain.entities import KeyPermission
from services.budget.use_cases.directory import Directory
from services.chassis.auth import KEY_PREFIX, SERVICE_TOKEN_PREFIX, ServiceTokens, bearer, secret_hash
from services.chassis.call import Call, Caller
from services.kernel.errors import CredentialsInvalid, PermissionDenied

EXPECTED = "a service token (tps_…) or a key (tpk_…)"
FOR_KEYS = frozenset(
    {"Apply", "Hold", "Commit", "Release", "CommitAndHold", "ExtendAmount", "RenewLease", "GetHold"}
)
"""Methods that a key may use; the directory and the ledger's tail are for services of ours."""


class BudgetCallers:
    """Authenticates a call of BudgetService. A key is looked up at each call: its state is the owner's to check."""

    def __init__(self, services: ServiceTokens, directory: Directory) -> None:
        self._services = services
        self._directory = directory

    async def __call__(self, call: Call) -> Caller:
        credential = bearer(call, expected=EXPECTED)
        if credential.startswith(SERVICE_TOKEN_PREFIX):
            return await self._services(call)
        if not credential.startswith(KEY_PREFIX):
            raise CredentialsInvalid(EXPECTED)
        if call.method.rpartition("/")[2] not in FOR_KEYS:
            raise PermissionDenied("the identity of a service of ours")
        key, _ = await self._directory.authenticate(secret_hash(credential))
        if KeyPermission.METER not in key.permissions:
            raise PermissionDenied("a key that may meter model calls of its own")
        return KeyCaller(
            name=key.key_id,
            organisation_id=key.organisation_id,
            team_id=key.team_id,
            project_id=key.project_id,
            key_id=key.key_id,
            user_id=key.user_id or "",
        )
