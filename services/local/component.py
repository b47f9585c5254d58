"""The parts of the stack as the supervisor sees them: what to start, and how one knows that it serves."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from services.local import ports
from services.local.child import Child, ChildSpec
from services.local.postgres import LocalPostgres
from services.local.redis import LocalRedis
from services.local.state import StateFolder

PAUSE_MIN_S = 0.1  # the road is closed meanwhile
SERVICE_STOP_TIMEOUT_S = 25.0  # a service lets calls finish for 20 s (TURNPIKE_DRAIN_S) and then closes


class Component(Protocol):
    """One child process of the stack."""

    @property
    def name(self) -> str:
        """One word, unique in the stack."""
        ...

    @property
    def about(self) -> str:
        """What it is and where it serves, for people: one line."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of those that must serve before it is started; such as are no part of the stack do not count."""
        ...

    @property
    def pause_min_s(self) -> float:
        """How long to wait after its death before it is started again; longer while it keeps dying."""
        ...

    def prepare(self) -> ChildSpec:
        """Make what it needs and say how to start it. May block; called before every start."""
        ...

    async def is_ready(self, child: Child) -> bool:
        """Tell whether this run of it serves now. Answers within a second."""
        ...


class PostgresComponent:
    """The database."""

    name = "postgres"
    needs = ()
    pause_min_s = PAUSE_MIN_S

    def __init__(self, postgres: LocalPostgres) -> None:
        self._postgres = postgres

    @property
    def about(self) -> str:
        return f"{ports.LOOPBACK}:{self._postgres.port}  Postgres {self._postgres.version}"

    def prepare(self) -> ChildSpec:
        return self._postgres.prepare()

    async def is_ready(self, child: Child) -> bool:
        return self._postgres.is_ready(child.pid)


class RedisComponent:
    """The store of what may be lost."""

    name = "redis"
    needs = ()
    pause_min_s = PAUSE_MIN_S

    def __init__(self, redis: LocalRedis) -> None:
        self._redis = redis

    @property
    def about(self) -> str:
        return f"{ports.LOOPBACK}:{self._redis.port}  {self._redis.program.source}"

    def prepare(self) -> ChildSpec:
        return self._redis.prepare()

    async def is_ready(self, child: Child) -> bool:
        return await asyncio.to_thread(self._redis.is_ready)


class PythonComponent:
    """A program of ours: a module that writes its address to a ready file once it serves."""

    def __init__(
        self,
        state: StateFolder,
        name: str,
        module: str,
        *,
        about: str,
        needs: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        stop_timeout_s: float = SERVICE_STOP_TIMEOUT_S,
        pause_min_s: float = PAUSE_MIN_S,
    ) -> None:
        self._state = state
        self._name = name
        self._module = module
        self._about = about
        self._needs = needs
        self._arguments = arguments
        self._environment = dict(environment or {})
        self._stop_timeout_s = stop_timeout_s
        self._pause_min_s = pause_min_s

    @property
    def name(self) -> str:
        return self._name

    @property
    def about(self) -> str:
        return self._about

    @property
    def needs(self) -> tuple[str, ...]:
        return self._needs

    @property
    def pause_min_s(self) -> float:
        return self._pause_min_s

    @property
    def ready_file(self) -> Path:
        """Where it writes its address."""
        return self._state.run / f"{self._name}.ready"

    def prepare(self) -> ChildSpec:
        self.ready_file.unlink(missing_ok=True)
        own = {"TURNPIKE_READY_FILE": str(self.ready_file), "TURNPIKE_STATE_DIR": str(self._state.path)}
        return ChildSpec(
            name=self._name,
            # -P: the folder we run in is no place to import from.
            argv=(sys.executable, "-P", "-m", self._module, *self._arguments),
            environment={**os.environ, **self._environment, **own},
            folder=self._state.path,
            log=self._state.log / f"{self._name}.log",
            stop_signal=signal.SIGTERM,
            stop_timeout_s=self._stop_timeout_s,
        )

    async def is_ready(self, child: Child) -> bool:
        return self.ready_file.exists()
