"""An authenticator for admin tokens, and what is known of an admin."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from services.chassis.auth import ADMIN_TOKEN_PREFIX, bearer, secret_hash
from services.chassis.call import Call, Caller
from services.kernel.errors import InvalidRequest, NotFound, PermissionDenied
from turnpike.budget.v1 import entities_pb2 as entities

# How long an answer is believed: a revoked token works no longer than this anywhere, as the contract promises.
REMEMBERED_S = 1.0
# Tokens remembered at once; an installation has few admins, and a guesser must not fill the memory.
REMEMBERED_MAX = 1024

LookUp = Callable[[bytes], Awaitable[entities.AdminToken]]
"""Asks the budget service for the admin token with this SHA-256; raises CredentialsInvalid, …Revoked, …Expired, or
ServiceUnavailable when the budget service cannot be reached: no answer is no permission."""


class AdminRole(Enum):
    """What an admin token may do; the budget service's docs say it at length."""

    OPERATOR = entities.ROLE_OPERATOR
    ORGANISATION_ADMIN = entities.ROLE_ORGANISATION_ADMIN
    TEAM_ADMIN = entities.ROLE_TEAM_ADMIN
    VIEWER = entities.ROLE_VIEWER


@dataclass(frozen=True, slots=True)
class AdminCaller(Caller):
    """An admin, and how far he sees."""

    admin_token_id: str
    role: AdminRole
    organisation_id: str
    """Empty: every organisation, for operators."""
    team_id: str
    """Empty: every team of the organisation."""

    def organisation(self, asked: str) -> str:
        """The organisation that a call is about: his own, or, for operators, the one he names.

        Raises InvalidRequest if an operator names none, NotFound if another than his is asked for.
        """
        if self.role is AdminRole.OPERATOR:
            if not asked:
                raise InvalidRequest.of("organisation_id", "is required for operators")
            return asked
        if asked and asked != self.organisation_id:
            raise NotFound("organisation", asked)
        return self.organisation_id

    def team(self, asked: str) -> str:
        """The team that a call is about: the one asked for, or his own if he has one; empty: all.

        Raises NotFound if another than his is asked for.
        """
        if self.team_id and asked and asked != self.team_id:
            raise NotFound("team", asked)
        return asked or self.team_id

    def require(self, *roles: AdminRole) -> None:
        """Raises PermissionDenied unless he is an operator or has one of the roles."""
        if self.role is not AdminRole.OPERATOR and self.role not in roles:
            names = " or ".join(role.name.lower().replace("_", " ") for role in (AdminRole.OPERATOR, *roles))
            raise PermissionDenied(f"the role {names}")


class AdminTokens:
    """Authenticates admins by their tokens (`tpa_…`); a tenant's key or a service's token is no admin token."""

    EXPECTED = "an admin token (tpa_…)"

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._remembered: OrderedDict[bytes, tuple[float, AdminCaller]] = OrderedDict()

    async def __call__(self, call: Call) -> AdminCaller:
        digest = secret_hash(bearer(call, expected=self.EXPECTED, prefix=ADMIN_TOKEN_PREFIX))
        now = time.monotonic()
        known = self._remembered.get(digest)
        if known is not None and now - known[0] < REMEMBERED_S:
            return known[1]
        self._remembered.pop(digest, None)
        caller = _caller(await self._look_up(digest))
        self._remembered[digest] = (now, caller)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return caller


def _caller(token: entities.AdminToken) -> AdminCaller:
    return AdminCaller(
        name=token.admin_token_id,
        admin_token_id=token.admin_token_id,
        role=AdminRole(token.role),
        organisation_id=token.organisation_id,
        team_id=token.team_id,
    )
