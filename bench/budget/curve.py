"""`python -m bench.budget.curve`: the same load on a ledger and a tree that grow; what grows must cost nothing.

Entries are copies of a real hold and its commit, written by SQL with ids of their own; budgets are copies of a real one
for keys that never call, each with a window. After each growth a new replica claims the tree, which is timed, and then
takes the same closed loop.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from bench.budget.__main__ import report
from bench.budget.load import closed_loop
from bench.budget.stage import Stage, postgres, replica, tenant_with_five_budgets
from services.chassis.channel import connect
from services.chassis.status import RemoteError
from tests.support.budget import commit, hold
from tests.support.budget_admin import SERVICE, Tenant
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub

CALLERS = 256
CLAIM_S_MAX = 60.0
CHUNK = 250_000

MORE_ENTRIES = """
INSERT INTO budget.ledger_entries (tree_no, sequence, kind, request_id, attempt, role, body, hash)
SELECT tree.tree_no, tree.sequence + place, CASE WHEN place % 2 = 1 THEN 1 ELSE 2 END,
       'fill-' || lpad(((tree.sequence + place) / 2)::text, 12, '0') || place % 2, 1, (place + 1) % 2,
       sample.body, sample.hash
FROM budget.trees AS tree, generate_series(1, $2::bigint) AS place
JOIN LATERAL (
    SELECT body, hash FROM budget.ledger_entries
    WHERE tree_no = (SELECT tree_no FROM budget.trees WHERE organisation_id = $1) AND kind = 1 + (place + 1) % 2 LIMIT 1
) AS sample ON true
WHERE tree.organisation_id = $1
"""
ADVANCE = "UPDATE budget.trees SET sequence = sequence + $2 WHERE organisation_id = $1"
CHECKPOINT = """
INSERT INTO budget.checkpoints (tree_no, sequence, open_sequences)
SELECT tree_no, sequence, '{}' FROM budget.trees WHERE organisation_id = $1
ON CONFLICT (tree_no) DO UPDATE SET sequence = excluded.sequence, open_sequences = excluded.open_sequences
"""
MORE_BUDGETS = """
INSERT INTO budget.budgets
SELECT 'bud_' || lpad(number::text, 26, '0'), organisation_id, team_id, 'key', 'key_' || lpad(number::text, 26, '0'),
       scope_kind, scope_name, unit, "limit", "window", counts_since, mode, alert_percents, display_name, state,
       version, created_at
FROM budget.budgets, generate_series($2::int, $3::int) AS number
WHERE budget_id = $1
"""
MORE_COUNTERS = """
INSERT INTO budget.counters (tree_no, no, budget_id, unit, start_us, end_us, lim, ceiling)
SELECT tree_no, next_counter + number - $2::int, 'bud_' || lpad(number::text, 26, '0'), 1, 0, 1::bigint << 62, 5, 5
FROM budget.trees, generate_series($2::int, $3::int) AS number WHERE organisation_id = $1
"""
NUMBERED = "UPDATE budget.trees SET next_counter = next_counter + $2 WHERE organisation_id = $1"


async def grow(dsn: str, tenant: Tenant, entries: int, budgets: int, had: tuple[int, int]) -> None:
    """Brings the tree from `had` (entries, budgets) to more of both."""
    organisation_id = tenant.organisation.organisation_id
    connection = await asyncpg.connect(dsn)
    try:
        done = had[0]
        while done < entries:
            step = min(CHUNK, entries - done)
            await connection.execute(MORE_ENTRIES, organisation_id, step)
            await connection.execute(ADVANCE, organisation_id, step)
            await connection.execute(CHECKPOINT, organisation_id)
            done += step
        if budgets > had[1]:
            await connection.execute(MORE_BUDGETS, tenant.budgets[0].budget_id, had[1] + 1, budgets)
            await connection.execute(MORE_COUNTERS, organisation_id, had[1] + 1, budgets)
            await connection.execute(NUMBERED, organisation_id, budgets - had[1])
        await connection.execute("ANALYZE budget.ledger_entries; ANALYZE budget.counters")
    finally:
        await connection.close()


async def measure(stage: Stage, tenant: Tenant, name: str, seconds: float) -> dict[str, Any]:
    """A claim, timed, and the closed loop."""
    async with connect("budget", stage.address, token=SERVICE) as remote:
        stub = BudgetServiceStub(remote.channel)
        begun = time.perf_counter()
        first = hold(tenant, 1000)
        first.key.request_id = f"first-{time.time_ns()}"
        while True:
            try:
                await remote.unary(stub.Hold, first, timeout_s=60.0)
                break
            except RemoteError as waiting:  # told so after two seconds, while the tree is read
                if waiting.reason != "STORE_UNAVAILABLE" or time.perf_counter() - begun > CLAIM_S_MAX:
                    raise
                await asyncio.sleep(0.05)
        claimed_s = time.perf_counter() - begun
        await remote.unary(stub.Commit, commit(first.key, 10), timeout_s=60.0)
        await closed_loop(remote, tenant, f"warm-{os.getpid()}-{time.time_ns()}-", 64, 1.0)
        before, client = stage.cpu_s(), time.process_time()
        measured = await closed_loop(remote, tenant, f"curve-{time.time_ns()}-", CALLERS, seconds)
        figures = report(name, stage, measured, before, time.process_time() - client)
    figures["claimed_in_s"] = round(claimed_s, 3)
    return figures


def table(steps: list[tuple[int, int]], runs: list[dict[str, Any]]) -> str:
    """The curve, for people."""
    lines = [
        f"{'entries':>12}{'budgets':>10}{'pairs/s':>10}{'us/pair':>9}{'+ Postgres':>12}{'p50 ms':>9}{'claim s':>9}"
    ]
    for (entries, budgets), run in zip(steps, runs, strict=True):
        lines.append(
            f"{entries:>12,}{budgets:>10,}{run['pairs_per_s']:>10,.0f}{run['cpu_us_per_pair_service']:>9.0f}"
            f"{run['cpu_us_per_pair_postgres']:>12.0f}{run['hold_ms_p50']:>9.1f}{run['claimed_in_s']:>9.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Grows and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget.curve", description=__doc__)
    parser.add_argument("--entries", type=int, nargs="*", default=[0, 1_000_000, 10_000_000])
    parser.add_argument("--budgets", type=int, nargs="*", default=[0, 1_000, 100_000])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = [(entries, 0) for entries in options.entries]
    steps += [(options.entries[-1], budgets) for budgets in options.budgets[1:]]
    runs = []
    with tempfile.TemporaryDirectory(prefix="turnpike-curve-") as name:
        folder = Path(name)
        with postgres(folder / "postgres") as (dsn, postgres_pid):
            with replica(dsn, folder) as (address, process):
                tenant = asyncio.run(tenant_with_five_budgets(address))
                stage = Stage(dsn, address, process.pid, postgres_pid)
                uvloop.run(measure(stage, tenant, "warming", 1.0))
            had = (0, 0)
            for entries, budgets in steps:
                asyncio.run(grow(dsn, tenant, entries, budgets, had))
                had = (entries, budgets)
                with replica(dsn, folder) as (address, process):
                    stage = Stage(dsn, address, process.pid, postgres_pid)
                    title = f"{entries} entries before, {budgets} more budgets"
                    runs.append(uvloop.run(measure(stage, tenant, title, options.seconds)))
                    print(json.dumps({"claimed_in_s": runs[-1]["claimed_in_s"]}), flush=True)
    print(table(steps, runs))
    if options.json is not None:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
