"""Our credentials at vendors, in memory: from the environment, from a file, and what admins brought.

The oldest use comes first, so that load spreads over a pool. One that the vendor refuses, or whose quota is used up,
rests for a while; the others go on. With Postgres down the pool goes on with what it has.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from services.kernel.clock import Clock
from services.providers.domain.failure import Failure, Reason
from services.providers.ports import Credential, Vendor

REFUSED_REST_S: Final = 300.0
"""After the vendor refused a credential: long enough not to hammer, short enough to heal after it was renewed."""
QUOTA_REST_S: Final = 300.0
LIMITED_REST_S: Final = 5.0
"""After a rate limit without a hint, for a key that others stand in for."""
LIMITED_REST_S_MAX: Final = 600.0


class CredentialPool:
    """Credentials by provider. Not shared between threads."""

    def __init__(self, clock: Clock, credentials: Iterable[Credential] = ()) -> None:
        self._clock = clock
        self._pools: dict[str, list[Credential]] = {}
        self._resting: dict[str, float] = {}
        self.replace(credentials)

    def replace(self, credentials: Iterable[Credential]) -> None:
        """Makes `credentials` the ones to use; rests of those that stay go on."""
        pools: dict[str, list[Credential]] = {}
        for credential in credentials:
            pools.setdefault(credential.provider, []).append(credential)
        self._pools = pools
        known = {credential.credential_id for pool in pools.values() for credential in pool}
        self._resting = {name: until for name, until in self._resting.items() if name in known}

    def all(self) -> list[Credential]:
        """Every credential."""
        return [credential for pool in self._pools.values() for credential in pool]

    def resting_s(self, credential_id: str) -> float | None:
        """Seconds for which it still rests; None: it does not."""
        left = self._resting.get(credential_id, 0.0) - self._clock.monotonic_s()
        return left if left > 0 else None

    def has(self, provider: str) -> bool:
        """True if there is a credential of the deployment's own for `provider`, resting or not."""
        return any(not credential.organisation_id for credential in self._pools.get(provider, ()))

    def choose(self, provider: str, organisation_id: str, credential_id: str) -> Credential | None:
        """A usable credential: the named one, else the organisation's, else the deployment's; the oldest use first."""
        pool = self._pools.get(provider, [])
        now = self._clock.monotonic_s()
        found: Credential | None = None
        for credential in pool:
            if credential_id and credential.credential_id != credential_id:
                continue
            if credential.organisation_id not in ("", organisation_id):
                continue
            if self._resting.get(credential.credential_id, 0.0) > now:
                continue
            if credential.organisation_id and organisation_id:
                found = credential
                break
            found = found or credential
        if found is not None and len(pool) > 1:
            pool.remove(found)
            pool.append(found)
        return found

    def report(self, credential: Credential, failure: Failure | None) -> bool:
        """What came of using it. True if it rests now and another can be used in its place."""
        if failure is None:
            self._resting.pop(credential.credential_id, None)
            return False
        others = [
            other
            for other in self._pools.get(credential.provider, ())
            if other.credential_id != credential.credential_id
            and other.organisation_id in ("", credential.organisation_id)
            and self.resting_s(other.credential_id) is None
        ]
        match failure.reason:
            case Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED:
                rest_s = REFUSED_REST_S
            case Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED:
                rest_s = QUOTA_REST_S
            case Reason.ERROR_REASON_VENDOR_RATE_LIMITED if others:
                # With others in the pool only this key waits; alone, the endpoint does (domain/health.py).
                rest_s = LIMITED_REST_S if failure.retry_after_s is None else failure.retry_after_s
            case _:
                return False
        until = self._clock.monotonic_s() + min(rest_s, LIMITED_REST_S_MAX)
        self._resting[credential.credential_id] = max(until, self._resting.get(credential.credential_id, 0.0))
        return bool(others)


def from_environment(vendors: Iterable[Vendor], environment: Mapping[str, str]) -> list[Credential]:
    """The vendors' keys in the environment. A variable may hold several with commas between, which make a pool."""
    found: list[Credential] = []
    for vendor in vendors:
        for variable in vendor.credential_variables:
            value = environment.get(variable, "").strip()
            if not value:
                continue
            secrets = [value] if value.startswith("{") else [part.strip() for part in value.split(",")]
            found.extend(
                Credential(
                    credential_id=credential_id(vendor.name, secret),
                    provider=vendor.name,
                    secret=secret,
                    display_name=variable,
                    origin="environment",
                )
                for secret in secrets
                if secret
            )
            break
    return found


def credential_id(provider: str, secret: str, organisation_id: str = "") -> str:
    """A name for a secret that nobody named, the same on every replica; it does not give the secret away."""
    digest = hashlib.sha256(f"{organisation_id}\0{provider}\0{secret}".encode()).hexdigest()
    return f"{provider}-{digest[:12]}"
