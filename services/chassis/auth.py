"""Who calls: credentials travel as metadata `authorization: Bearer <secret>`, and their prefix says what they are.

`tpk_…` is a tenant's key, `tpa_…` an admin token, `tps_…` the token of a service of ours. The budget service owns the
first two; a service authenticates them with an Authenticator of its own. Services know each other by tokens that the
operator gives them in pairs (TURNPIKE_SERVICE_TOKEN at the caller, TURNPIKE_SERVICE_TOKENS at the called).
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.chassis.call import ANONYMOUS, Call, Caller
from services.kernel.errors import CredentialsInvalid, CredentialsMissing, PermissionDenied

KEY_PREFIX = "tpk_"
ADMIN_TOKEN_PREFIX = "tpa_"
SERVICE_TOKEN_PREFIX = "tps_"
SECRET_BYTES = 32  # 256 bits: no guessing, no need of a slow hash

# A credential longer than any of ours is refused before it is hashed.
CREDENTIAL_LENGTH_MAX = 256


class Authenticator(Protocol):
    """Finds out who makes a call. Called before the handler; what it raises is the call's answer."""

    async def __call__(self, call: Call) -> Caller:
        """The caller; raises CredentialsMissing, CredentialsInvalid, … or PermissionDenied."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceCaller(Caller):
    """A service of ours."""

    service: str


def new_secret(prefix: str) -> str:
    """A new secret with one of the prefixes above, in letters, digits, `-` and `_`."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret, and looked up by: its SHA-256, 32 bytes. Enough for secrets of 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def bearer(call: Call, *, expected: str, prefix: str = "") -> str:
    """The call's credential; raises CredentialsMissing or, if it cannot be one with this prefix, CredentialsInvalid."""
    credential = call.bearer()
    if credential is None:
        raise CredentialsMissing(expected)
    if len(credential) > CREDENTIAL_LENGTH_MAX or not credential.startswith(prefix):
        raise CredentialsInvalid(expected)
    return credential


async def anyone(call: Call) -> Caller:
    """Authenticates nobody: for what must answer before anything is known, such as health."""
    return ANONYMOUS


class ServiceTokens:
    """Authenticates services of ours by their tokens; `only` names those that may call, absent: all of `tokens`."""

    EXPECTED = "a service token (tps_…)"

    def __init__(self, tokens: Mapping[str, str], *, only: frozenset[str] | None = None) -> None:
        self._callers = [
            (secret_hash(token), ServiceCaller(name=f"service:{service}", service=service))
            for service, token in tokens.items()
        ]
        self._only = only

    async def __call__(self, call: Call) -> Caller:
        return self.authenticate(call)

    def authenticate(self, call: Call) -> ServiceCaller:
        """The service that calls; every token is compared, in constant time."""
        given = secret_hash(bearer(call, expected=self.EXPECTED, prefix=SERVICE_TOKEN_PREFIX))
        found: ServiceCaller | None = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, given):
                found = caller
        if found is None:
            raise CredentialsInvalid(self.EXPECTED)
        if self._only is not None and found.service not in self._only:
            raise PermissionDenied(f"the identity of one of: {', '.join(sorted(self._only))}")
        return found
