"""The processes of a chaos run, each of which can be killed, paused and started again."""

import asyncio
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bench.budget.stage import family
from services.local import ports
from services.local.child import running
from services.local.postgres import LocalPostgres
from tests.chaos.budget.router import GAUGE
from tests.support.budget_admin import OPERATOR, SERVICE

START_S = 40.0
SETTINGS = {"recovery_init_sync_method": "syncfs"}
"""After a crash Postgres flushes what lies in its folder; file by file that takes seconds on a busy machine."""
ROOT = Path(__file__).parents[3]


class PostgresServer:
    """A Postgres that may be killed with everything it has started."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._server = LocalPostgres(folder, port=ports.any_free(), durable=durable, settings=SETTINGS)
        self._stack = contextlib.ExitStack()
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_at = 0.0
        """When it last began to take connections, by the monotonic clock."""

    @property
    def dsn(self) -> str:
        return self._server.dsn

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        self.process = self._stack.enter_context(running(self._server.prepare()))
        deadline = time.monotonic() + START_S
        while not self._server.is_ready(self.process.pid):
            if time.monotonic() > deadline:
                raise RuntimeError("Postgres did not come up")
            time.sleep(0.01)
        self.ready_at = time.monotonic()

    def kill(self) -> None:
        """kill -9 of the server and all its backends."""
        assert self.process is not None
        for pid in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._stack.close()

    def signal_all(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT to the server and all its backends."""
        assert self.process is not None
        for pid in family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        """Stops it for good."""
        self._stack.close()
        self._server.remove()


@dataclass
class Replica:
    """A replica of the service."""

    dsn: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def failpoints(self) -> Path:
        return self.folder / "failpoints"

    def start(self) -> None:
        """Starts it without waiting."""
        self.failpoints.mkdir(exist_ok=True)
        (self.folder / f"ready-{self.port}").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.budget"],
            cwd=ROOT,
            env={
                **os.environ,
                "TURNPIKE_POSTGRES_DSN": self.dsn,
                "TURNPIKE_LISTEN": self.address,
                "TURNPIKE_READY_FILE": str(self.folder / f"ready-{self.port}"),
                "TURNPIKE_SERVICE_TOKENS": f"router={SERVICE}",
                "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN": OPERATOR,
                "TURNPIKE_STATE_DIR": str(self.folder),
                "TURNPIKE_ACCESS_LOG": "off",
                "TURNPIKE_BUDGET_FAILPOINTS": str(self.failpoints),
            },
            stdout=(self.folder / f"replica-{self.port}.log").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def wait_ready(self) -> None:
        """Waits until it serves."""
        deadline = time.monotonic() + START_S
        while not (self.folder / f"ready-{self.port}").exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"a replica did not come up: {self.folder}/replica-{self.port}.log")
            time.sleep(0.02)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        return self.alive and (self.folder / f"ready-{self.port}").exists()

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Lets it drain."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Caller:
    """A router process; each incarnation has a name and a log of its own."""

    folder: Path
    number: int
    seed: int
    incarnation: int = 0
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    @property
    def gauge(self) -> Path:
        return self.folder / f"gauge-{self.number}"

    def start(self) -> None:
        """Starts the next incarnation."""
        self.incarnation += 1
        name = f"router{self.number}i{self.incarnation}"
        self.gauge.write_bytes(bytes(GAUGE.size))
        log = self.folder / f"{name}.log"
        self.logs.append(log)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.chaos.budget.router",
                str(self.folder / "plan.json"),
                str(log),
                str(self.gauge),
                name,
                str(self.seed * 1000 + self.incarnation),
            ],
            cwd=ROOT,
            stdout=(self.folder / f"caller-{self.number}.out").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float) -> None:
        """Lets it finish what is under way."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def read(self) -> tuple[int, int, int]:
        """(open acknowledged holds, when the last answered question was asked in monotonic ns, holds answered)."""
        try:
            opened, asked_ns, holds = GAUGE.unpack(self.gauge.read_bytes())
        except (OSError, struct.error):
            return (0, 0, 0)
        return (opened, asked_ns, holds)


class LedgerFile:
    """A ledger outside of memory, to be read as often as one likes: (sequence, body, hash), in order."""

    _HEAD = struct.Struct("=qI32s")

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fill(self, connection: Any, tree_no: int) -> None:
        """Brings all entries of a tree here, within a transaction of the caller's."""
        rows = connection.cursor(
            "SELECT sequence, body, hash FROM budget.ledger_entries WHERE tree_no = $1 ORDER BY sequence",
            tree_no,
            prefetch=2000,
        )
        with self._path.open("wb") as file:
            async for row in rows:
                file.write(self._HEAD.pack(row["sequence"], len(row["body"]), row["hash"]) + row["body"])

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:
        with self._path.open("rb") as file:
            while head := file.read(self._HEAD.size):
                sequence, length, hashed = self._HEAD.unpack(head)
                yield sequence, file.read(length), hashed


@dataclass
class Arena:
    """Everything together."""

    postgres: PostgresServer
    replicas: list[Replica]
    callers: list[Caller]
    organisation_id: str = ""

    def open_holds(self) -> int:
        """Acknowledged holds that are open now."""
        return sum(max(0, caller.read()[0]) for caller in self.callers)

    def holds_answered(self) -> int:
        """Holds that were granted or refused."""
        return sum(caller.read()[2] for caller in self.callers)

    def last_asked(self) -> float:
        """When the newest answered question was asked, by the monotonic clock."""
        return max(caller.read()[1] for caller in self.callers) / 1e9

    async def owner(self) -> Replica | None:
        """The replica that owns the tree, if Postgres answers."""
        try:
            connection = await asyncpg.connect(self.postgres.dsn, timeout=1.0)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return None
        try:
            address = await connection.fetchval(
                "SELECT owner_address FROM budget.trees WHERE organisation_id = $1", self.organisation_id
            )
        finally:
            connection.terminate()
        return next((replica for replica in self.replicas if replica.address == address), None)

    async def drop_connections(self) -> int:
        """Cuts every connection of the service to Postgres."""
        try:
            connection = await asyncpg.connect(self.postgres.dsn, timeout=1.0)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return 0
        try:
            rows = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'turnpike%' AND pid <> pg_backend_pid()"
            )
            return len(rows)
        except (OSError, asyncpg.PostgresError):
            return 0
        finally:
            connection.terminate()

    async def ledger(self, folder: Path) -> tuple["LedgerFile", list[dict[str, Any]]]:
        """All entries of the tree, brought into a file of `folder`, and its counters."""
        entries = LedgerFile(folder / "ledger")
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            tree_no = await connection.fetchval(
                "SELECT tree_no FROM budget.trees WHERE organisation_id = $1", self.organisation_id
            )
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await entries.fill(connection, tree_no)
            counters = await connection.fetch(
                "SELECT no, lim, held, spent, overage FROM budget.counters WHERE tree_no = $1", tree_no
            )
        finally:
            await connection.close()
        return entries, [dict(row) for row in counters]

    async def settled(self, timeout_s: float) -> bool:
        """Waits until no hold is open any more: silence has been charged."""
        deadline = time.monotonic() + timeout_s
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            while time.monotonic() < deadline:
                if not await connection.fetchval("SELECT coalesce(sum(open), 0) FROM budget.counters"):
                    return True
                await asyncio.sleep(0.1)
            return False
        finally:
            await connection.close()

    def write_plan(self, folder: Path, **plan: Any) -> None:
        """What the routers are told."""
        plan["addresses"] = [replica.address for replica in self.replicas]
        plan["token"] = SERVICE
        (folder / "plan.json").write_text(json.dumps(plan))
