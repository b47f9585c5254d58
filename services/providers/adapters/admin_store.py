"""What admins set, in Postgres. With Postgres down changes are refused, and replicas go on with what they have."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from services.chassis.postgres import Connection, Database
from services.chassis.queries import Queries
from services.kernel.errors import RequestIdReused

FOLDER: Final = Path(__file__).parent.parent / "sql"
SCHEMA: Final = "providers"

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True, slots=True)
class Change:
    """Who asks for a change, and what makes it the same change when it comes again."""

    admin_token_id: str
    request_id: str
    content_hash: bytes
    action: str
    entity_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A row of credentials."""

    credential_id: str
    provider: str
    organisation_id: str
    display_name: str
    sealed: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """A row of endpoints."""

    endpoint_id: str
    config: bytes
    version: int


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """A row of overrides."""

    model: str
    organisation_id: str
    facts: bytes
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """All of it, as of one revision."""

    revision: int = 0
    credentials: tuple[StoredCredential, ...] = ()
    endpoints: tuple[StoredEndpoint, ...] = ()
    overrides: tuple[StoredOverride, ...] = ()


class Transaction:
    """The statements of a change, within its transaction."""

    def __init__(self, connection: Connection, queries: Queries) -> None:
        self._connection = connection
        self._queries = queries

    async def run(self, name: str, *arguments: object) -> int:
        """Runs a statement; how many rows it touched."""
        said: str = await self._connection.execute(self._queries[name], *arguments)
        return int(said.rpartition(" ")[2])

    async def row(self, name: str, *arguments: object) -> Any:
        """The first row; None if there is none."""
        return await self._connection.fetchrow(self._queries[name], *arguments)


class AdminStore:
    """Reads all, and makes one change at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """How often anything was changed."""
        return int(await self._database.fetchval(self._database.queries["book_revision"]))

    async def load(self) -> Stored:
        """All of it, as of one moment."""
        queries = self._database.queries
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            revision = await connection.fetchval(queries["book_revision"])
            credentials = await connection.fetch(queries["load_credentials"])
            endpoints = await connection.fetch(queries["load_endpoints"])
            overrides = await connection.fetch(queries["load_overrides"])
        return Stored(
            revision,
            tuple(StoredCredential(**row) for row in credentials),
            tuple(StoredEndpoint(**row) for row in endpoints),
            tuple(StoredOverride(**{**row, "paths": tuple(row["paths"])}) for row in overrides),
        )

    async def change(
        self, change: Change, answer: type[Answer], work: Callable[[Transaction], Awaitable[Answer]]
    ) -> Answer:
        """The answer of `work`, which is done once: the same change again gets the same answer.

        Raises RequestIdReused for another change under the same id, and what `work` raises; then nothing was done.
        """
        queries = self._database.queries
        async with self._database.transaction() as connection:
            await connection.fetchval(queries["lock_book"])
            known = await connection.fetchrow(
                queries["find_answer"], change.admin_token_id, change.request_id
            )
            if known is not None:
                if known["content_hash"] != change.content_hash:
                    raise RequestIdReused(change.request_id)
                return answer.FromString(known["answer"])
            made = await work(Transaction(connection, queries))
            await connection.execute(
                queries["keep_answer"],
                change.admin_token_id,
                change.request_id,
                change.content_hash,
                made.SerializeToString(),
                change.at,
            )
            await connection.execute(
                queries["add_audit"], change.at, change.admin_token_id, change.action, change.entity_id
            )
            return made
