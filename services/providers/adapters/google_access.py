"""How one gets in at Google Cloud: an access token, or a service account's key that signs for itself.

A service account needs no token server: Google's APIs take a JWT that the account's own key has signed, good for an
hour. So nothing is fetched, and nothing can be down.
"""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from services.providers.domain.failure import AttemptError, Reason, failed
from services.providers.ports import HttpRequest

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_S: Final = 3_600
"""Google takes no longer-lived one."""
RENEW_BEFORE_S: Final = 300
"""Signed anew so long before its end, for clocks that differ and requests that take a while."""
ACCOUNTS_KEPT: Final = 64
"""Signed tokens are remembered for so many accounts; beyond, all are signed anew: 1 ms each."""


@dataclass(slots=True)
class GoogleCloud:
    """A bearer token: the secret itself, or one signed with it if it is a service account's JSON."""

    clock: Callable[[], float] = time.time
    """Seconds of the epoch."""
    _signed: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def authorise(self, request: HttpRequest, url: str, secret: str) -> str:
        """Adds the header. Raises AttemptError for a service account's JSON that lacks a part."""
        if secret:
            token = self._token(secret) if secret.lstrip().startswith("{") else secret
            request.headers["authorization"] = f"Bearer {token}"
        return url

    def _token(self, secret: str) -> str:
        now_s = self.clock()
        with self._lock:
            token, ends_s = self._signed.get(secret, ("", 0.0))
            if now_s < ends_s - RENEW_BEFORE_S:
                return token
            token = signed_token(secret, int(now_s))
            if len(self._signed) >= ACCOUNTS_KEPT:
                self._signed.clear()
            self._signed[secret] = (token, now_s + LIFETIME_S)
            return token


def signed_token(secret: str, now_s: int) -> str:
    """A JWT for all of Google Cloud, signed with the account's key. Raises AttemptError for a secret that is none."""
    try:
        account = json.loads(secret)
        address, key_id = account["client_email"], account.get("private_key_id")
        key = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unusable() from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _unusable()
    header = {"typ": "JWT", "alg": "RS256", "kid": key_id}
    claims = {"iss": address, "sub": address, "scope": SCOPE, "iat": now_s, "exp": now_s + LIFETIME_S}
    signed = f"{_part(header)}.{_part(claims)}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64url(signature)}"


def _unusable() -> AttemptError:
    return failed(
        Reason.ERROR_REASON_CREDENTIAL_MISSING,
        "The Google credential is no service account's JSON with client_email and an RSA private_key.",
    )


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
