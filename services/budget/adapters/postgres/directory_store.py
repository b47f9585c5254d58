"""The directory in Postgres."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from services.budget.adapters.postgres.prices import price_of
from services.budget.adapters.postgres.rows import from_row
from services.budget.adapters.postgres.statements import statements
from services.budget.domain.directory import (
    DirectoryChange,
    DirectoryEntries,
    DirectoryKey,
    DirectorySnapshot,
)
from services.budget.domain.entities import KeyPermission, Organisation, Project, Team
from services.budget.ports import Connection
from services.chassis.postgres import Database

CHANNEL = "turnpike_budget_directory"

_KEYS_BY = ("key", "project", "team", "organisation", "user")


class PostgresDirectoryStore:
    """Reads the directory as of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        async with self._database.connection() as connection:
            return await self._revision(connection)

    async def snapshot(self) -> DirectorySnapshot:
        async with self._database.transaction(isolation="repeatable_read") as connection:
            revision = await self._revision(connection)
            entries = await self._entries(connection, None)
        return DirectorySnapshot(revision, entries)

    async def changes(self, after_revision: int) -> DirectoryChange | None:
        async with self._database.transaction(isolation="repeatable_read") as connection:
            oldest = await connection.fetchval(statements()["oldest_known_revision"])
            revision = await self._revision(connection)
            if not oldest <= after_revision <= revision:
                return None
            ids: dict[str, list[str]] = defaultdict(list)
            removed = set()
            for row in await connection.fetch(statements()["select_directory_changes"], after_revision):
                ids[row["kind"]].append(row["entity_id"])
                if row["removed_secret_hash"] is not None:
                    removed.add(row["removed_secret_hash"])
            entries = await self._entries(connection, ids)
        return DirectoryChange(after_revision, revision, entries, tuple(sorted(removed)))

    async def key(self, secret_hash: bytes) -> tuple[DirectoryKey, int] | None:
        row = await self._database.fetchrow(statements()["find_directory_key"], secret_hash)
        return None if row is None else (_key(row), row["revision"])

    async def _revision(self, connection: Connection) -> int:
        revision: int = await connection.fetchval(statements()["directory_revision"])
        return revision

    async def _entries(
        self, connection: Connection, ids: Mapping[str, Collection[str]] | None
    ) -> DirectoryEntries:
        """What was named, and the keys below it; everything if `ids` is None."""

        def only(kind: str) -> list[str] | None:
            return None if ids is None else list(ids.get(kind, ()))

        async def rows(kind: str) -> list[Any]:
            named = only(kind)
            if named is not None and not named:
                return []
            return list(await connection.fetch(statements()[f"select_directory_{kind}s"], named))

        if ids is None:
            key_rows = await connection.fetch(statements()["select_all_directory_keys"])
        else:
            named = [list(ids.get(kind, ())) for kind in _KEYS_BY]
            key_rows = await connection.fetch(statements()["select_directory_keys"], *named)
        return DirectoryEntries(
            keys=tuple(_key(row) for row in key_rows),
            organisations=tuple(from_row(row, Organisation) for row in await rows("organisation")),
            teams=tuple(from_row(row, Team) for row in await rows("team")),
            projects=tuple(from_row(row, Project) for row in await rows("project")),
            prices=tuple(price_of(row) for row in await rows("price")),
        )


def _key(row: Any) -> DirectoryKey:
    return DirectoryKey(
        secret_hash=row["secret_hash"],
        organisation_id=row["organisation_id"],
        team_id=row["team_id"],
        project_id=row["project_id"],
        key_id=row["key_id"],
        user_id=row["user_id"],
        permissions=tuple(KeyPermission(value) for value in row["permissions"]),
        expires_at=row["expires_at"],
        disabled=row["disabled"],
        model_patterns=tuple(row["model_patterns"]),
    )
