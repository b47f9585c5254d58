"""Streams the directory to routers, and answers whose a secret is.

The feed asks Postgres for the newest revision when a notification comes, and in any case several times a second, which
heals a lost notification. A heartbeat is sent only if Postgres answered of late: while it is out of reach readers hear
nothing, and know by that not to trust what they have.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from services.budget.admin_ports import AdminStore
from services.budget.domain.directory import (
    DirectoryChange,
    DirectoryHeartbeat,
    DirectoryKey,
    DirectoryMessage,
    DirectorySnapshot,
)
from services.budget.domain.entities import AdminToken, EntityState
from services.kernel.clock import Clock
from services.kernel.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsRevoked,
    PrincipalDisabled,
    StoreUnavailable,
)

log = structlog.get_logger()

# Readers distrust what they have after a second of silence: two polls, or heartbeats, may be late.
POLL_S = 0.4
# A poll that takes longer than this is as good as none.
FRESH_S = 0.9

EXPECTED_KEY = "a key (tpk_…)"
EXPECTED_ADMIN_TOKEN = "an admin token (tpa_…)"


class DirectoryStore(Protocol):
    """Where the directory is read. While Postgres does not answer everything raises StoreUnavailable."""

    async def revision(self) -> int:
        """The newest revision."""
        ...

    async def snapshot(self) -> DirectorySnapshot:
        """All of the directory."""
        ...

    async def changes(self, after_revision: int) -> DirectoryChange | None:
        """What changed after a revision. None: that is no longer, or not yet, known; a snapshot is needed."""
        ...

    async def key(self, secret_hash: bytes) -> tuple[DirectoryKey, int] | None:
        """The key with this secret and the revision at which it was so."""
        ...


class DirectoryFeed:
    """Knows the newest revision, and wakes who waits for it."""

    def __init__(self, store: DirectoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._notified = asyncio.Event()
        self._changed = asyncio.Condition()
        self._polled_s: float | None = None
        self.revision = 0

    def notify(self) -> None:
        """Something may have changed: look at once."""
        self._notified.set()

    @property
    def fresh(self) -> bool:
        """Whether Postgres answered of late."""
        return self._polled_s is not None and self._clock.monotonic_s() - self._polled_s < FRESH_S

    async def run(self) -> None:
        """Follows the revision until it is cancelled."""
        while True:
            self._notified.clear()
            asked_s = self._clock.monotonic_s()
            try:
                revision = await self._store.revision()
            except StoreUnavailable:
                log.warning("directory_not_followed", store="postgres")
            else:
                self._polled_s = asked_s
                if revision != self.revision:
                    async with self._changed:
                        self.revision = revision
                        self._changed.notify_all()
            # Not wait_for, which on Python 3.11 loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._notified.wait()

    async def newer_than(self, revision: int) -> bool:
        """Waits for a newer revision, at most until a heartbeat is due; whether there is one."""
        try:
            async with asyncio.timeout(POLL_S), self._changed:
                await self._changed.wait_for(lambda: self.revision > revision)
        except TimeoutError:
            return False
        return True


class Directory:
    """Whom routers may let call."""

    def __init__(self, store: DirectoryStore, feed: DirectoryFeed, stopping: asyncio.Event) -> None:
        self._store = store
        self._feed = feed
        self._stopping = stopping

    async def watch(self, after_revision: int) -> AsyncIterator[DirectoryMessage]:
        """A snapshot unless the reader's revision is still known, then changes, and heartbeats between them.

        Ends when the process drains, and with StoreUnavailable when something changed and Postgres does not answer; the
        reader comes again.
        """
        revision = after_revision
        first = await self._store.changes(revision) if revision else None
        message: DirectoryMessage = first or await self._store.snapshot()
        while True:
            yield message
            revision = message.revision
            while not await self._feed.newer_than(revision):
                if self._stopping.is_set():
                    return
                if self._feed.fresh:
                    yield DirectoryHeartbeat(revision)
            message = await self._store.changes(revision) or await self._store.snapshot()

    async def authenticate(self, secret_hash: bytes) -> tuple[DirectoryKey, int]:
        """The key with this secret; raises CredentialsInvalid if there is none."""
        found = await self._store.key(secret_hash)
        if found is None:
            raise CredentialsInvalid(EXPECTED_KEY)
        return found


async def authenticate_admin(store: AdminStore, clock: Clock, secret_hash: bytes) -> AdminToken:
    """The admin token with this secret, if it works now."""
    found = await store.admin_token(secret_hash)
    if found is None:
        raise CredentialsInvalid(EXPECTED_ADMIN_TOKEN)
    token, organisation_state = found
    if token.state is not EntityState.ACTIVE:
        raise CredentialsRevoked(token.admin_token_id)
    if token.expires_at is not None and token.expires_at <= clock.now():
        raise CredentialsExpired(token.admin_token_id, token.expires_at)
    if organisation_state is EntityState.ARCHIVED:
        raise PrincipalDisabled(f"organisation:{token.organisation_id}")
    return token
