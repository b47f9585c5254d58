"""Keeps in Postgres what repeatable requests led to, written in batches off the road of the request.

Answers are kept only if TURNPIKE_ANSWERS_KEY is set, encrypted with it (AES-256-GCM, bound to the request's name).
While Postgres is away outcomes wait in a bounded buffer; a repetition then learns less (the hold at the budget service
still keeps it from a second vendor's call).
"""

import asyncio
import os
import struct
from collections import deque
from datetime import UTC, datetime, timedelta

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis.postgres import Database
from services.kernel.errors import StoreUnavailable
from services.router.use_cases.repeats import Outcome

KEPT_FOR = timedelta(hours=24)
"""How long a repetition is told what became of the first; callers repeat within seconds, queues within hours."""

BUFFER_MAX = 20_000
BATCH_MAX = 500
GATHER_S = 0.1
FORGET_EVERY_S = 60.0
FORGET_AT_ONCE = 5_000
NONCE_BYTES = 12

log = structlog.get_logger()


class PostgresOutcomes:
    """The `Outcomes` port."""

    def __init__(self, database: Database, key: bytes | None) -> None:
        """`key`: 32 bytes that encrypt answers; None: no answer is kept."""
        self._database = database
        self._cipher = AESGCM(key) if key is not None else None
        self._buffer: deque[tuple[str, str, Outcome, bool]] = deque(maxlen=BUFFER_MAX)
        self._filled = asyncio.Event()

    def put(self, organisation_id: str, request_id: str, outcome: Outcome, *, keep_answer: bool) -> None:
        self._buffer.append((organisation_id, request_id, outcome, keep_answer))
        self._filled.set()

    async def find(self, organisation_id: str, request_id: str) -> Outcome | None:
        row = await self._database.fetchrow(
            self._database.queries["find_request"], organisation_id, request_id
        )
        if row is None:
            return None
        return Outcome(
            row["content_hash"],
            row["decision_id"],
            row["cost_nanos"],
            self._opened(row["answer"], organisation_id, request_id),
        )

    async def run(self) -> None:
        """Writes for ever, until it is cancelled."""
        forgotten_at_s = asyncio.get_running_loop().time()
        while True:
            await self._filled.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
                if asyncio.get_running_loop().time() - forgotten_at_s > FORGET_EVERY_S:
                    forgotten_at_s = asyncio.get_running_loop().time()
                    await self._database.execute(
                        self._database.queries["forget_requests"], datetime.now(UTC), FORGET_AT_ONCE
                    )
            except StoreUnavailable:
                log.warning("outcomes not written", waiting=len(self._buffer))
                await asyncio.sleep(1.0)

    async def flush(self) -> None:
        """Writes what waits. Raises StoreUnavailable; then it waits on."""
        while self._buffer:
            batch = [self._buffer[index] for index in range(min(BATCH_MAX, len(self._buffer)))]
            expires = datetime.now(UTC) + KEPT_FOR
            rows = [
                (
                    organisation_id,
                    request_id,
                    outcome.content_hash,
                    outcome.decision_id,
                    outcome.cost_nanos,
                    self._sealed(outcome, organisation_id, request_id) if keep_answer else None,
                    expires,
                )
                for organisation_id, request_id, outcome, keep_answer in batch
            ]
            async with self._database.connection() as connection:
                await connection.executemany(self._database.queries["add_request"], rows)
            for _ in batch:
                self._buffer.popleft()
        self._filled.clear()

    def _sealed(self, outcome: Outcome, organisation_id: str, request_id: str) -> bytes | None:
        if self._cipher is None or outcome.parts is None:
            return None
        plain = b"".join(struct.pack(">I", len(part)) + part for part in outcome.parts)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, f"{organisation_id}/{request_id}".encode())

    def _opened(
        self, sealed: bytes | None, organisation_id: str, request_id: str
    ) -> tuple[bytes, ...] | None:
        if sealed is None or self._cipher is None:
            return None
        try:
            plain = self._cipher.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], f"{organisation_id}/{request_id}".encode()
            )
        except InvalidTag:
            return None  # sealed with another key
        parts: list[bytes] = []
        at = 0
        while at < len(plain):
            (size,) = struct.unpack_from(">I", plain, at)
            parts.append(plain[at + 4 : at + 4 + size])
            at += 4 + size
        return tuple(parts)
