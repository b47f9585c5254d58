"""Brings a service's schema up to date: ordered, once each, by one process at a time.

A service keeps sql/migrations/0001_what.sql, 0002_….sql. What was applied is recorded in the schema itself with a
checksum of its text; a file that changed afterwards, or vanished, or comes before the last applied one, is refused:
history does not change. Each migration is one transaction. Any number of replicas may start at once: an advisory lock
lets one of them work.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""

log = structlog.get_logger()


class MigrationRefused(RuntimeError):
    """The files do not continue what was applied to this database."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(folder: Path) -> list[Migration]:
    """The migrations of `folder`, in order; raises ValueError for a file with another name or a number used twice."""
    found: dict[int, Migration] = {}
    for file in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"{file.name} is not named like 0001_what.sql")
        number = int(match[1])
        if number in found:
            raise ValueError(f"{file.name}: there is a migration {number:04d} already")
        found[number] = Migration(number, match[2], file.read_text())
    return [found[number] for number in sorted(found)]


async def migrate(connection: Any, schema: str, migrations: list[Migration]) -> list[Migration]:
    """Applies what is missing to `schema` (made if it is not there); returns that. Raises MigrationRefused."""
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"not the name of a schema: {schema}")
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", f"migrate {schema}")
    try:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(f"SET search_path TO {schema}")
        await connection.execute(_RECORD)
        rows = await connection.fetch("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
        missing = _missing({row["number"]: (row["name"], row["checksum"]) for row in rows}, migrations)
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.text)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.checksum,
                )
            log.info("migrated", schema=schema, number=migration.number, name=migration.name)
        return missing
    finally:
        await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", f"migrate {schema}")


def _missing(applied: dict[int, tuple[str, str]], migrations: list[Migration]) -> list[Migration]:
    present = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in applied.items():
        if number not in present:
            raise MigrationRefused(
                f"migration {number:04d}_{name} was applied and its file is gone: a newer version ran here before"
            )
        if present[number].checksum != checksum:
            raise MigrationRefused(
                f"migration {number:04d}_{name} changed after it was applied; write a new one instead"
            )
    last = max(applied, default=0)
    missing = [migration for migration in migrations if migration.number not in applied]
    if missing and missing[0].number < last:
        raise MigrationRefused(
            f"migration {missing[0].number:04d}_{missing[0].name} comes before {last:04d}, which was applied already"
        )
    return missing
