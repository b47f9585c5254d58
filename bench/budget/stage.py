"""What is measured: a real Postgres with fsync, one replica as a process of its own, and a tenant with five budgets."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask

from services.chassis.channel import connect
from services.local import ports
from services.local.child import running
from services.local.postgres import LocalPostgres
from tests.support.budget_admin import OPERATOR, SERVICE, Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.budget.v1.entities_pb2 import Budget, BudgetSubject, ModelScope
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_MONEY

START_S = 30.0
LIMIT = 4 * 10**18
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stage:
    """What runs."""

    dsn: str
    address: str
    service_pid: int
    postgres_pid: int

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds used so far by the service and by Postgres with its backends."""
        return cpu_of([self.service_pid]), cpu_of(family(self.postgres_pid))


def family(pid: int) -> list[int]:
    """A process and its children."""
    pids = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                pids.append(int(stat.parent.name))
    return pids


def cpu_of(pids: list[int]) -> float:
    """CPU seconds that these processes and their ended children have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


@contextlib.contextmanager
def postgres(folder: Path, *, durable: bool = True) -> Iterator[tuple[str, int]]:
    """A Postgres of the bench's own; yields its DSN and process."""
    server = LocalPostgres(folder, port=ports.any_free(), durable=durable)
    spec = server.prepare()
    try:
        with running(spec) as process:
            deadline = time.monotonic() + START_S
            while not server.is_ready(process.pid):
                if time.monotonic() > deadline:
                    raise RuntimeError("Postgres did not come up")
                time.sleep(0.02)
            yield server.dsn, process.pid
    finally:
        server.remove()


@contextlib.contextmanager
def replica(
    dsn: str, folder: Path, *, port: int = 0, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A replica as a process; yields its address."""
    port = port or ports.any_free()
    ready = folder / f"ready-{port}"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "services.budget"],
        env={
            **os.environ,
            "TURNPIKE_POSTGRES_DSN": dsn,
            "TURNPIKE_LISTEN": f"127.0.0.1:{port}",
            "TURNPIKE_READY_FILE": str(ready),
            "TURNPIKE_SERVICE_TOKENS": f"router={SERVICE}",
            "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN": OPERATOR,
            "TURNPIKE_STATE_DIR": str(folder),
            "TURNPIKE_ACCESS_LOG": "off",
            **environment,
        },
        stdout=(folder / f"replica-{port}.log").open("ab"),
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the replica did not come up:\n{(folder / f'replica-{port}.log').read_text()[-2000:]}"
                )
            time.sleep(0.02)
        yield f"127.0.0.1:{port}", process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def admin_api(address: str) -> AsyncIterator[Api]:
    """The admin service as its operator."""
    async with connect("budget", address, token=OPERATOR) as remote:
        yield Api(remote, BudgetAdminServiceStub(remote.channel))


async def tenant_with_five_budgets(address: str) -> Tenant:
    """A tenant whose every hold is in five budgets in money, none of which is ever full."""
    async with admin_api(address) as api:
        tenant = await make_tenant(api, "bench")
        for budget in tenant.budgets:
            budget.limit = LIMIT
            await api.UpdateBudget(
                admin_pb.UpdateBudgetRequest(
                    request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
                )
            )
        for subject, scope in (
            (BudgetSubject(key_id=tenant.key.key_id), None),
            (
                BudgetSubject(organisation_id=tenant.organisation.organisation_id),
                ModelScope(provider="openai"),
            ),
        ):
            budget = Budget(
                subject=subject, model_scope=scope, unit=BUDGET_UNIT_MONEY, limit=LIMIT, display_name="bench"
            )
            await api.CreateBudget(admin_pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
    return tenant
