"""Real stores for tests: one Postgres and one Redis per test process, a fresh database for whoever asks.

The servers come from wheels and run as child processes (services/local). Writes are not flushed to disk: a test's data
need not outlive a power cut, and kill -9 loses nothing all the same.
"""

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from services.local import ports, redis
from services.local.child import running
from services.local.postgres import LocalPostgres

STARTUP_S = 60.0
Result = TypeVar("Result")


class Databases:
    """Makes databases in one Postgres server.

    Its connection lives in an event loop and thread of its own, so that any test may ask, async or not.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="databases", daemon=True)
        self._thread.start()
        self._connection = self._await(asyncpg.connect(dsn))

    def close(self) -> None:
        self._await(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextlib.contextmanager
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """The DSN of a new database, dropped when the block ends. `template`: name of a database to copy."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield urlsplit(self.dsn)._replace(path=f"/{name}").geturl()
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        self._await(self._connection.execute(statement))

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STARTUP_S)


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[Databases]:
    """A Postgres for the length of a block; its cluster is removed afterwards, wherever it had to be put."""
    postgres = LocalPostgres(folder, port=ports.any_free(), durable=False)
    spec = postgres.prepare()
    try:
        with running(spec) as process:
            deadline = time.monotonic() + STARTUP_S
            while not postgres.is_ready(process.pid):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Postgres did not come up:\n{spec.log.read_text()[-2000:]}")
                time.sleep(0.01)  # it tells its readiness in a file only
            databases = Databases(postgres.dsn)
            try:
                yield databases
            finally:
                databases.close()
    finally:
        postgres.remove()


redis_server = redis.serving
