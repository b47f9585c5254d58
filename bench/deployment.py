"""Turnpike as it is deployed, on one machine: every service as processes of its own, as many replicas as one wants.

    async with deployment(folder, endpoints, replicas={"router": 2, "budget": 2}) as running:
        running.target("router")

Postgres and Redis are this machine's own (`services/local`). Whoever makes tenants and load comes from elsewhere.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.road.processes import Group
from services.chassis.channel import Remote, connect
from services.local import ports, redis
from services.local.child import running
from services.local.postgres import LocalPostgres
from services.local.prices import import_list_prices

SERVICES = ("budget", "providers", "analytics", "router")
CALLER = "bench"
"""The name by which a benchmark calls the services as one of them."""

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What runs, and where."""

    addresses: Mapping[str, Sequence[str]]
    """Of each service, one of each replica."""
    dsn: str
    operator: str = field(repr=False)
    """An operator's admin token."""
    groups: tuple[Group, ...]
    """The processes of each service, Postgres, Redis."""
    tokens: Mapping[str, str] = field(repr=False)

    def target(self, service: str) -> str:
        """All replicas of a service as one gRPC target, taken in turn."""
        return target_of(self.addresses[service])

    def as_operator(self, service: str) -> contextlib.AbstractAsyncContextManager[Remote]:
        """A connection to a service's admin half."""
        return connect(service, self.target(service), token=self.operator)

    def as_service(self, service: str) -> contextlib.AbstractAsyncContextManager[Remote]:
        """A connection to a service as one of ours."""
        return connect(service, self.target(service), token=self.tokens[CALLER])

    async def put_list_prices_in_force(self) -> None:
        """Puts the catalogue's list prices into the price book."""
        async with self.as_service("providers") as providers, self.as_operator("budget") as budget:
            await import_list_prices(providers, budget)


def target_of(addresses: Sequence[str]) -> str:
    """Several addresses as one gRPC target."""
    return addresses[0] if len(addresses) == 1 else "ipv4:" + ",".join(addresses)


@asynccontextmanager
async def deployment(
    folder: Path,
    endpoints: Sequence[Mapping[str, Any]],
    environment: Mapping[str, str] | None = None,
    *,
    replicas: Mapping[str, int] | None = None,
    durable: bool = True,
) -> AsyncIterator[Deployment]:
    """The whole of it, for the length of a block.

    `endpoints` are as in an endpoints file, `environment` is added to every service's; `replicas` of a service: 1 where
    it says nothing. `durable`: Postgres waits for its disk.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    async with contextlib.AsyncExitStack() as opened:
        postgres = LocalPostgres(folder / "postgres", port=ports.any_free(), durable=durable)
        opened.callback(postgres.remove)
        database = opened.enter_context(running(await asyncio.to_thread(postgres.prepare)))
        await until(lambda: postgres.is_ready(database.pid))
        operator = f"tpa_{secrets.token_urlsafe(32)}"
        tokens = {name: f"tps_{secrets.token_urlsafe(32)}" for name in (*SERVICES, CALLER)}
        file = folder / "endpoints.json"
        file.write_text(json.dumps({"endpoints": list(endpoints)}))
        told = {
            "TURNPIKE_POSTGRES_DSN": postgres.dsn,
            "TURNPIKE_ENDPOINTS_FILE": str(file),
            "TURNPIKE_SERVICE_TOKENS": ",".join(f"{name}={token}" for name, token in tokens.items()),
            "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN": operator,
            "TURNPIKE_STATE_DIR": str(folder),
            **(environment or {}),
        }
        redis_pids: tuple[int, ...] = ()
        program = redis.find_program()
        if program is not None:
            server = redis.LocalRedis(folder / "redis", program, port=ports.any_free())
            redis_pids = (opened.enter_context(running(server.prepare())).pid,)
            told["TURNPIKE_REDIS_URL"] = server.url
        counts = {name: (replicas or {}).get(name, 1) for name in SERVICES}
        addresses = {
            name: [f"{ports.LOOPBACK}:{ports.any_free()}" for _ in range(count)]
            for name, count in counts.items()
        }
        told |= {f"TURNPIKE_{name.upper()}_ADDRESS": target_of(found) for name, found in addresses.items()}
        groups = []
        for name in SERVICES:
            own = {**told, "TURNPIKE_SERVICE_TOKEN": tokens[name]}
            started = [_service(name, address, folder, own) for address in addresses[name]]
            pids = [await opened.enter_async_context(service) for service in started]
            groups.append(Group(name, tuple(pids)))
        stores = (Group("postgres", (database.pid,)), Group("redis", redis_pids))
        yield Deployment(addresses, postgres.dsn, operator, (*groups, *stores), tokens)


@asynccontextmanager
async def _service(name: str, address: str, folder: Path, told: Mapping[str, str]) -> AsyncIterator[int]:
    own = f"{name}-{address.rpartition(':')[2]}"
    ready, log_file = folder / f"{own}.ready", folder / f"{own}.log"
    environment = {**os.environ, **told, "TURNPIKE_LISTEN": address, "TURNPIKE_READY_FILE": str(ready)}
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{name}", env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        await until(lambda: ready.exists() or process.returncode is not None)
        if process.returncode is not None:
            raise RuntimeError(f"{name} ended:\n{log_file.read_text()[-2000:]}")
        yield process.pid
    finally:
        await stop(process)


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """`python` with these arguments, for the length of a block: its process and what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Asks a process to end, and sees to it."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds; raises TimeoutError after READY_TIMEOUT_S."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        while not holds():  # noqa: ASYNC110 - another process's doing gives no event
            await asyncio.sleep(0.05)
