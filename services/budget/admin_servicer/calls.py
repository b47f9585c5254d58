"""What every method of the admin servicer asks first: who calls, and under which id."""

from dataclasses import dataclass

from google.protobuf.message import Message

from services.budget.admin_ports import AdminStore
from services.budget.convert_entities import content_hash
from services.budget.domain.admin import AdminCall, AdminChange
from services.budget.domain.entities import AdminToken
from services.budget.use_cases.directory import EXPECTED_ADMIN_TOKEN, authenticate_admin
from services.chassis.auth import ADMIN_TOKEN_PREFIX, bearer, secret_hash
from services.chassis.call import Call, Caller, current_call
from services.kernel.clock import Clock
from services.kernel.ids import RequestId


@dataclass(frozen=True, slots=True)
class AdminCaller(Caller):
    """An admin, by his token."""

    token: AdminToken


class AdminAuthenticator:
    """Lets admins call, by their tokens alone: a tenant's key is no credential here.

    Each call asks Postgres, so a token that is revoked stops at once; while Postgres is out of reach nobody is let in.
    """

    def __init__(self, store: AdminStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, call: Call) -> Caller:
        secret = bearer(call, expected=EXPECTED_ADMIN_TOKEN, prefix=ADMIN_TOKEN_PREFIX)
        token = await authenticate_admin(self._store, self._clock, secret_hash(secret))
        return AdminCaller(token.admin_token_id, token)


def asking() -> AdminCall:
    """The call under way."""
    call = current_call()
    assert call is not None, "a servicer runs inside a call"
    assert isinstance(call.caller, AdminCaller), "the admin service lets nobody else in"
    return AdminCall(call.caller.token, call.method.rpartition("/")[2])


def changing(request: Message, clock: Clock) -> AdminChange:
    """The call under way, which changes something under the request's id."""
    call = asking()
    request_id = RequestId(getattr(request, "request_id"))  # noqa: B009 -- every request of a change has one
    return AdminChange(call.admin, call.method, request_id, content_hash(request), clock.now())
