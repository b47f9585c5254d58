"""The Postgres pool, its migrations and its ways to fail, against a real server."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.chassis.call import Call, CallKind, Current
from services.chassis.migrations import MigrationRefused, load, migrate
from services.chassis.postgres import Database, open_database
from services.kernel.errors import DeadlineExceeded, StoreUnavailable
from services.local import ports
from services.local.child import running
from services.local.postgres import LocalPostgres
from tests.support.conditions import until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "0001_marks.sql").write_text(
        "CREATE TABLE marks (id int PRIMARY KEY);\nCREATE INDEX ON marks (id);"
    )
    (tmp_path / "queries.sql").write_text(
        "-- name: add_mark\n-- Adds a mark.\nINSERT INTO marks VALUES ($1);\n\n"
        "-- name: count_marks\n-- How many there are.\nSELECT count(*) FROM marks;\n"
    )
    return tmp_path


@pytest.fixture
async def database(postgres_dsn: str, folder: Path) -> AsyncIterator[Database]:
    async with open_database(postgres_dsn, schema="example", folder=folder, connections_max=2) as opened:
        yield opened


async def test_a_schema_is_made_and_named_statements_run_in_it(database: Database, postgres_dsn: str) -> None:
    assert await database.execute(database.queries["add_mark"], 1) == "INSERT 0 1"
    assert await database.fetchval(database.queries["count_marks"]) == 1
    assert await database.answers()
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM example.marks") == 1
    await connection.close()


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.transaction() as connection:
            await connection.execute(database.queries["add_mark"], 1)
            await connection.execute(database.queries["add_mark"], 1)
    assert await database.fetchval(database.queries["count_marks"]) == 0


async def test_a_connection_is_given_back_as_it_is(database: Database, postgres_dsn: str) -> None:
    pid = await database.fetchval("SELECT pg_backend_pid()")
    assert await database.fetchval("SELECT 'the last word'") == "the last word"
    connection = await asyncpg.connect(postgres_dsn)
    last = await connection.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
    await connection.close()
    assert last == "SELECT 'the last word'"  # and not asyncpg's reset, a round trip behind each statement


async def test_what_a_transaction_was_told_ends_with_it(database: Database) -> None:
    asked = """
        SELECT pg_backend_pid() AS pid, current_setting('work_mem') AS memory,
               (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks
    """
    before = await database.fetchrow(asked)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL work_mem = '1234kB'")
            await connection.execute("SELECT pg_advisory_xact_lock(1)")
            await connection.execute("SELECT 1 / 0")
    assert await database.fetchrow(asked) == before


async def test_a_wrong_statement_is_not_an_outage(database: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await database.fetch("SELEKT")
    with pytest.raises(asyncpg.InterfaceError):
        await database.fetch(database.queries["add_mark"])


async def test_replicas_that_start_together_migrate_once(postgres_dsn: str, folder: Path) -> None:
    async def start() -> int:
        async with open_database(postgres_dsn, schema="example", folder=folder) as opened:
            return int(await opened.fetchval("SELECT count(*) FROM schema_migrations"))

    assert await asyncio.gather(*(start() for _ in range(5))) == [1] * 5


@pytest.mark.parametrize("change", ["edited", "gone", "before"])
async def test_changed_history_is_refused(postgres_dsn: str, folder: Path, change: str) -> None:
    first, second = folder / "migrations" / "0001_marks.sql", folder / "migrations" / "0003_more.sql"
    second.write_text("CREATE TABLE more (id int)")
    connection = await asyncpg.connect(postgres_dsn)
    try:
        applied = await migrate(connection, "example", load(folder / "migrations"))
        assert [migration.number for migration in applied] == [1, 3]
        match change:
            case "edited":
                first.write_text("CREATE TABLE marks (id bigint PRIMARY KEY)")
            case "gone":
                second.unlink()
            case "before":
                (folder / "migrations" / "0002_between.sql").write_text("CREATE TABLE between_ (id int)")
        with pytest.raises(MigrationRefused, match="changed after|is gone|comes before"):
            await migrate(connection, "example", load(folder / "migrations"))
    finally:
        await connection.close()


async def test_a_migration_that_fails_leaves_nothing(postgres_dsn: str, folder: Path) -> None:
    (folder / "migrations" / "0002_broken.sql").write_text("CREATE TABLE half (id int); SELECT 1 / 0;")
    connection = await asyncpg.connect(postgres_dsn)
    try:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, "example", load(folder / "migrations"))
        assert await connection.fetchval("SELECT to_regclass('example.half')") is None
        assert await connection.fetchval("SELECT max(number) FROM example.schema_migrations") == 1
    finally:
        await connection.close()


async def test_a_full_pool_and_a_deadline_are_prompt(database: Database) -> None:
    call = Call("/x/Y", CallKind.UNARY, {}, "", deadline=time.monotonic() + 1.0)
    with Current(call):
        async with database.connection(), database.connection():
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await database.answers()
            assert time.monotonic() - begun < 3
        await asyncio.sleep(call.left_s or 0.0)
        with pytest.raises(DeadlineExceeded):
            await database.answers()


@pytest.mark.timeout(90)
async def test_an_outage_is_prompt_typed_and_heals(tmp_path: Path, folder: Path) -> None:
    postgres = LocalPostgres(tmp_path / "postgres", port=ports.any_free(), durable=False)
    try:
        with running(postgres.prepare()) as process:
            await _until_ready(postgres, process.pid)
            async with open_database(postgres.dsn, schema="example", folder=folder) as database:
                assert await database.answers()
                sleeping = asyncio.create_task(database.fetchval("SELECT pg_sleep(30)"))
                await _until(
                    database, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)'"
                )
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                with pytest.raises(StoreUnavailable):
                    await sleeping
                await until(lambda: _refuses_promptly(database))
                with running(postgres.prepare()) as again:
                    await _until_ready(postgres, again.pid)
                    assert await database.answers()
    finally:
        postgres.remove()


async def _refuses_promptly(database: Database) -> bool:
    """False while one of the pool's backends, which live a moment longer than their postmaster, still answers."""
    begun = time.monotonic()
    try:
        await database.answers()
    except StoreUnavailable:
        assert time.monotonic() - begun < 2.5
        return True
    return False


async def _until_ready(postgres: LocalPostgres, pid: int) -> None:
    async with asyncio.timeout(30):
        while not postgres.is_ready(pid):
            await asyncio.sleep(0.02)


async def _until(database: Database, question: str) -> None:
    async with asyncio.timeout(10):
        while not await database.fetchval(question):
            await asyncio.sleep(0.01)
