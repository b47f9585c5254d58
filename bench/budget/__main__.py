"""`python -m bench.budget`: throughput, latency and CPU of hold and commit through the whole service.

Prints one line for each run: closed loop at several numbers of callers, open loop at several rates, unary holds.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import uvloop

from bench.budget.load import Measured, closed_loop, open_loop
from bench.budget.stage import Stage, postgres, replica, tenant_with_five_budgets
from services.chassis.channel import Remote, connect
from tests.support.budget import hold
from tests.support.budget_admin import SERVICE, Tenant
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub

WARM_S = 1.0


def report(
    name: str, stage: Stage, measured: Measured, before: tuple[float, float], client_s: float
) -> dict[str, object]:
    """One run's figures, printed and returned."""
    service, store = (after - was for after, was in zip(stage.cpu_s(), before, strict=True))
    pairs = max(1, measured.pairs)
    figures: dict[str, object] = {
        "run": name,
        "pairs_per_s": round(measured.pairs / measured.seconds, 1),
        "pairs": measured.pairs,
        "refused": measured.refused,
        "hold_ms_p50": round(measured.percentile(measured.hold_ms, 0.5), 2),
        "hold_ms_p99": round(measured.percentile(measured.hold_ms, 0.99), 2),
        "commit_ms_p50": round(measured.percentile(measured.commit_ms, 0.5), 2),
        "cpu_us_per_pair_service": round(service / pairs * 1e6, 1),
        "cpu_us_per_pair_postgres": round(store / pairs * 1e6, 1),
        "cpu_us_per_pair_client": round(client_s / pairs * 1e6, 1),
    }
    print(json.dumps(figures), flush=True)
    return figures


async def unary(remote: Remote, tenant: Tenant, rate: float, seconds: float) -> Measured:
    """Unary holds at a rate, open loop."""
    measured = Measured()
    stub = BudgetServiceStub(remote.channel)
    tasks: list[asyncio.Task[None]] = []

    async def one(due: float) -> None:
        await remote.unary(stub.Hold, hold(tenant, 1000), timeout_s=5.0)
        measured.hold_ms.append((time.perf_counter() - due) * 1000)
        measured.pairs += 1

    begun = due = time.perf_counter()
    while due < begun + seconds:
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    measured.seconds = time.perf_counter() - begun
    return measured


async def measure(stage: Stage, options: argparse.Namespace) -> list[dict[str, object]]:
    """All runs that were asked for."""
    tenant = await tenant_with_five_budgets(stage.address)
    runs: list[dict[str, object]] = []
    async with connect("budget", stage.address, token=SERVICE) as remote:
        await closed_loop(remote, tenant, f"warm-{os.getpid()}-", 64, WARM_S)
        for callers in options.callers:
            before, client = stage.cpu_s(), time.process_time()
            measured = await closed_loop(
                remote, tenant, f"closed-{callers}-{time.time_ns()}-", callers, options.seconds
            )
            runs.append(
                report(
                    f"closed loop, {callers} callers", stage, measured, before, time.process_time() - client
                )
            )
        for rate in options.rates:
            before, client = stage.cpu_s(), time.process_time()
            measured = await open_loop(
                remote, tenant, f"open-{rate}-{time.time_ns()}-", rate, options.seconds
            )
            runs.append(report(f"open loop, {rate}/s", stage, measured, before, time.process_time() - client))
        if options.unary:
            before, client = stage.cpu_s(), time.process_time()
            measured = await unary(remote, tenant, options.unary, options.seconds)
            runs.append(
                report(
                    f"unary Hold, {options.unary}/s", stage, measured, before, time.process_time() - client
                )
            )
    return runs


def main() -> None:
    """Builds the stage, measures, and writes the figures where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each run")
    parser.add_argument("--callers", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--rates", type=int, nargs="*", default=[1000])
    parser.add_argument("--unary", type=int, default=200, help="unary holds a second; 0: none")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turnpike-bench-") as name:
        folder = Path(name)
        with postgres(folder / "postgres") as (dsn, postgres_pid), replica(dsn, folder) as (address, process):
            stage = Stage(dsn, address, process.pid, postgres_pid)
            runs = uvloop.run(measure(stage, options))
    if options.json is not None:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
