"""Brings a service's schema up to date: ordered SQL files, each applied once, in one transaction with its record.

Files are `NNNN_what_it_does.sql`. What was applied is recorded with its checksum: a file that was changed afterwards,
or is gone, is refused, because then nobody knows what the schema is. Replicas that start together take turns.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
# Any number will do, as long as nothing else in the database uses it for another purpose.
_LOCK = 7_419_026_531

log = structlog.get_logger()


class MigrationRefused(Exception):
    """The schema's history and the files do not agree; the text says where."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, as hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(folder: Path) -> list[Migration]:
    """The folder's migrations in order; raises MigrationRefused for a strange name or a number used twice."""
    migrations: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationRefused(f"{file.name} is not named NNNN_what_it_does.sql")
        if migrations and migrations[-1].version == int(match[1]):
            raise MigrationRefused(f"{file.name} has the number of {migrations[-1].name}")
        migrations.append(Migration(int(match[1]), file.name, file.read_text()))
    return migrations


async def migrate(connection: Any, schema: str, migrations: list[Migration]) -> int:
    """Applies to `schema` what it lacks; how many were applied. `connection` is asyncpg's, outside a transaction."""
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(f'SET search_path TO "{schema}"')
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (version integer PRIMARY KEY, name text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = {
            row["version"]: (row["name"], row["checksum"])
            for row in await connection.fetch("SELECT version, name, checksum FROM migration")
        }
        _check(applied, migrations)
        missing = [migration for migration in migrations if migration.version not in applied]
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO migration (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            log.info("migrated", schema=schema, migration=migration.name)
        return len(missing)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


def _check(applied: dict[int, tuple[str, str]], migrations: list[Migration]) -> None:
    known = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in sorted(applied.items()):
        if version not in known:
            raise MigrationRefused(
                f"{name} was applied and is not among the files: is this an older version?"
            )
        if known[version].checksum != checksum:
            raise MigrationRefused(f"{name} was changed after it was applied; write a new migration instead")
