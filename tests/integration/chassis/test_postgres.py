"""A service's schema and pool against a real Postgres."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from services.chassis.migrations import MigrationRefused
from services.chassis.postgres import open_database
from services.chassis.queries import Queries
from services.kernel.errors import StoreUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_notes.sql").write_text(
        "CREATE TABLE note (id int PRIMARY KEY, words text);"
    )
    (tmp_path / "queries.sql").write_text(
        "-- name: write\n-- Keeps a note.\nINSERT INTO note VALUES ($1, $2);\n\n"
        "-- name: count\n-- How many notes there are.\nSELECT count(*) FROM note;\n"
    )
    return tmp_path


async def test_a_schema_is_brought_up_to_date_once_even_by_replicas_that_start_together(
    postgres_dsn: str, folder: Path
) -> None:
    async def start() -> int:
        async with open_database(postgres_dsn, schema="notes", folder=folder) as database:
            return int(await database.fetchval(database.queries["count"]))

    assert await asyncio.gather(start(), start(), start()) == [0, 0, 0]
    (folder / "migrations" / "0002_more.sql").write_text("ALTER TABLE note ADD COLUMN at timestamptz;")
    async with open_database(postgres_dsn, schema="notes", folder=folder) as database:
        versions = await database.fetch("SELECT version FROM migration ORDER BY version")
        assert [row["version"] for row in versions] == [1, 2]


async def test_a_changed_or_missing_history_is_refused(postgres_dsn: str, folder: Path) -> None:
    async with open_database(postgres_dsn, schema="notes", folder=folder):
        pass
    file = folder / "migrations" / "0001_notes.sql"
    text = file.read_text()
    file.write_text(text + "-- a thought that came later")
    with pytest.raises(MigrationRefused, match="changed after"):
        async with open_database(postgres_dsn, schema="notes", folder=folder):
            pass
    file.rename(folder / "migrations" / "0007_notes.sql")
    with pytest.raises(MigrationRefused, match="not among the files"):
        async with open_database(postgres_dsn, schema="notes", folder=folder):
            pass


async def test_a_migration_that_fails_leaves_nothing_behind(postgres_dsn: str, folder: Path) -> None:
    broken = folder / "migrations" / "0002_broken.sql"
    broken.write_text("CREATE TABLE half (id int); SELECT 1/0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with open_database(postgres_dsn, schema="notes", folder=folder):
            pass
    broken.write_text("CREATE TABLE half (id int);")
    async with open_database(postgres_dsn, schema="notes", folder=folder) as database:
        assert await database.fetchval("SELECT count(*) FROM half") == 0


async def test_a_transaction_that_fails_is_undone(postgres_dsn: str, folder: Path) -> None:
    async with open_database(postgres_dsn, schema="notes", folder=folder) as database:
        with pytest.raises(ValueError, match="no"):
            async with database.transaction() as connection:
                await connection.execute(database.queries["write"], 1, "x")
                raise ValueError("no")
        assert await database.fetchval(database.queries["count"]) == 0


async def test_a_lost_connection_is_typed_and_heals(postgres_dsn: str, folder: Path) -> None:
    async with open_database(postgres_dsn, schema="notes", folder=folder, connections_max=1) as database:
        mine = await database.fetchval("SELECT pg_backend_pid()")
        other = await asyncpg.connect(postgres_dsn)
        try:
            with pytest.raises(StoreUnavailable):
                async with database.connection() as connection:
                    assert await other.fetchval("SELECT pg_terminate_backend($1)", mine)
                    await connection.fetchval("SELECT pg_sleep(30)")
        finally:
            await other.close()
        assert await database.answers()


async def test_nobody_listening_is_a_typed_and_prompt_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.postgres.START_PATIENCE_S", 0.1)
    with pytest.raises(StoreUnavailable):
        async with open_database("postgresql://nobody@127.0.0.1:1/none", schema="notes", folder=folder):
            pass


async def test_a_notification_is_heard(postgres_dsn: str, folder: Path) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with (
        open_database(postgres_dsn, schema="notes", folder=folder) as database,
        database.listening("notes", heard.put_nowait),
    ):
        await database.execute("SELECT pg_notify('notes', 'seven')")
        assert await asyncio.wait_for(heard.get(), 5) == "seven"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1;", "needs a sentence"),
        ("-- name: a\n-- Says nothing.\n", "no statement"),
        ("-- name: a\n-- One.\nSELECT 1;\n-- name: a\n-- Two.\nSELECT 2;", "used twice"),
    ],
)
def test_statements_have_a_name_a_sentence_and_a_body(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "queries.sql").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        Queries.load(tmp_path)
