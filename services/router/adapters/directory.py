"""Follows the budget service's directory, and authenticates keys from it.

The stream brings a snapshot, then changes, and a heartbeat at least once a second. When it has been silent for longer
than STALE_S, and for keys it does not have, the budget service is asked; when that cannot be reached nobody is let in
(ServiceUnavailable), because a revoked key must not work on a router that has lost touch.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.chassis import tracing
from services.chassis.auth import KEY_PREFIX, bearer, secret_hash
from services.chassis.call import Call
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.clock import Clock
from services.kernel.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    PermissionDenied,
    PrincipalDisabled,
    TurnpikeError,
)
from services.router.convert_budget import from_pb_directory_key, from_pb_entries
from services.router.domain.directory import Directory, KeyEntry
from services.router.use_cases.callers import KeyCaller
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub

STALE_S = 1.5
"""Heartbeats come every second at the latest; half a second is what a busy machine may add."""

RECONNECT_S = 0.2
AUTHENTICATE_TIMEOUT_S = 2.0

log = structlog.get_logger()


class DirectoryWatch:
    """Keeps a directory up to date."""

    def __init__(self, budget: Remote, directory: Directory, clock: Clock) -> None:
        self._budget = budget
        self._stub = BudgetServiceStub(budget.channel)
        self._directory = directory
        self._clock = clock
        self._heard_at_s = float("-inf")
        self.ready = asyncio.Event()
        """Set once a whole directory is here."""

    @property
    def fresh(self) -> bool:
        """True if the directory can be trusted without asking."""
        return self._clock.monotonic_s() - self._heard_at_s <= STALE_S

    async def run(self) -> None:
        """Follows the stream for ever, connecting again when it breaks."""
        while True:
            try:
                await self._follow()
            except TurnpikeError as error:
                log.info("directory stream ended", reason=error.reason)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        after = self._directory.revision if self.ready.is_set() else 0
        filling: Directory | None = None
        request = pb.WatchDirectoryRequest(after_revision=after)
        async with self._budget.stream(self._stub.WatchDirectory, request) as messages:
            async for message in messages:
                kind = message.WhichOneof("message")
                if kind == "snapshot":
                    filling = filling or Directory()
                    filling.apply(message.revision, from_pb_entries(message.snapshot.entries))
                    if message.snapshot.complete:
                        self._directory.replace(message.revision, filling)
                        filling = None
                        self.ready.set()
                elif kind == "change":
                    entries = from_pb_entries(message.change.entries)
                    entries.removed_keys = list(message.change.removed_key_hashes)
                    self._directory.apply(message.revision, entries)
                elif not self.ready.is_set():
                    self.ready.set()  # nothing changed since the revision that was asked for
                if filling is None:
                    self._heard_at_s = self._clock.monotonic_s()

    async def ask(self, digest: bytes) -> KeyEntry | None:
        """What the budget service says of a key; None: it knows none. Raises ServiceUnavailable and the like."""
        request = pb.AuthenticateRequest(secret_hash=digest)
        try:
            answer = await self._budget.unary(
                self._stub.Authenticate, request, timeout_s=AUTHENTICATE_TIMEOUT_S
            )
        except RemoteError as error:
            if error.reason in ("CREDENTIALS_INVALID", "NOT_FOUND"):
                return None
            raise
        return from_pb_directory_key(answer.key)


class KeyAuthenticator:
    """Authenticates tenants by their keys (`tpk_…`)."""

    EXPECTED = "a key (tpk_…)"

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        fresh: Callable[[], bool],
        ask: Callable[[bytes], Awaitable[KeyEntry | None]],
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._fresh = fresh
        self._ask = ask

    async def __call__(self, call: Call) -> KeyCaller:
        with tracing.span("authenticate"):
            digest = secret_hash(bearer(call, expected=self.EXPECTED, prefix=KEY_PREFIX))
            entry = self._directory.keys.get(digest)
            if entry is None or not self._fresh():
                entry = await self._ask(digest)
            if entry is None:
                raise CredentialsInvalid(self.EXPECTED)
            self._check(entry)
        caller = entry.caller
        call.fields["key_id"] = caller.key_id
        call.fields["organisation_id"] = caller.organisation_id
        return KeyCaller(caller.key_id, caller)

    def _check(self, entry: KeyEntry) -> None:
        caller = entry.caller
        if entry.expires_at_s is not None:
            now = self._clock.now()
            if entry.expires_at_s <= now.timestamp():
                expired = now.fromtimestamp(entry.expires_at_s, now.tzinfo)
                raise CredentialsExpired(caller.key_id, expired)
        if entry.disabled:
            raise PrincipalDisabled(f"key:{caller.key_id}, or whom it belongs to,")
        if not entry.may_generate:
            raise PermissionDenied("a key with the permission to generate")
