"""`make race`: thousands of callers over several replicas on budgets that are nearly exhausted.

Nothing is killed here: five budgets in money are fought for by holds of random size, with commits, releases,
extensions, repetitions, silence, and limits that an admin raises and lowers all the while, around what is asked for at
the time: however fast the machine, there is too little. Afterwards the ledger is
replayed by other code: nothing was admitted above a limit, nothing that fitted was refused, and the totals are the
ledger's to the nano-dollar.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import uvloop
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from bench.budget.stage import admin_api
from services.kernel.errors import TurnpikeError
from services.local import ports
from tests.chaos.budget.arena import Arena, Caller, PostgresServer, Replica
from tests.chaos.budget.run import AMOUNT_MAX, Options, Outcome, report, stop_all
from tests.chaos.budget.verify import Verdict, verify
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1.entities_pb2 import Budget, BudgetSubject, ModelScope, RollingWindow, Window
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_MONEY

LEASE_S = 5.0
BUCKETS = 5
WINDOW_S = 5
LIMIT_CHANGE_S = 0.25
SAY_S = 60.0


async def race(options: Options, holds: int, folder: Path) -> Outcome:
    """Lets callers fight until `holds` were granted or refused or the time is over, then verifies."""
    postgres = PostgresServer(folder / "postgres", durable=options.durable)
    arena = Arena(postgres, [], [])
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.close)
        postgres.start()
        for _ in range(options.replicas):
            replica = Replica(postgres.dsn, folder, ports.any_free())
            stack.callback(replica.stop)
            replica.start()
            replica.wait_ready()
            arena.replicas.append(replica)
        async with admin_api(arena.replicas[0].address) as api:
            tenant = await make_tenant(api, "race")
            budgets = await _five_budgets(api, tenant, options)
            arena.organisation_id = tenant.organisation.organisation_id
            arena.write_plan(
                folder,
                organisation_id=arena.organisation_id,
                team_id=tenant.team.team_id,
                project_id=tenant.project.project_id,
                key_id=tenant.key.key_id,
                callers=options.callers,
                amount_max=AMOUNT_MAX,
                lease_s=LEASE_S,
            )
            for number in range(options.routers):
                caller = Caller(folder, number, options.seed * 10 + number)
                caller.start()
                arena.callers.append(caller)
            stack.callback(stop_all, arena.callers)
            begun = time.monotonic()
            changes = await _until(arena, api, budgets, options, holds)
            outcome = Outcome(options, Verdict(), seconds=time.monotonic() - begun)
            outcome.events["limit changed"] = changes
            outcome.events["holds answered"] = arena.holds_answered()
        await asyncio.gather(*(asyncio.to_thread(caller.stop, 60.0) for caller in arena.callers))
        await arena.settled(LEASE_S + 30.0)
        entries, counters = await arena.ledger(folder)
        logs = [log for caller in arena.callers for log in caller.logs if log.exists()]
        rolling = {budget.budget_id: (WINDOW_S * 1_000_000 // BUCKETS, BUCKETS) for budget in budgets}
        outcome.verdict = verify(logs, entries, counters, rolling)
        return outcome


async def _five_budgets(api: Api, tenant: Tenant, options: Options) -> list[Budget]:
    for budget in tenant.budgets:
        await api.ArchiveBudget(
            admin_pb.ArchiveBudgetRequest(request_id=request_id(), budget_id=budget.budget_id)
        )
    organisation = BudgetSubject(organisation_id=tenant.organisation.organisation_id)
    made = []
    for subject, scope in (
        (organisation, None),
        (BudgetSubject(team_id=tenant.team.team_id), None),
        (BudgetSubject(project_id=tenant.project.project_id), None),
        (BudgetSubject(key_id=tenant.key.key_id), None),
        (organisation, ModelScope(provider="openai")),
    ):
        window = Window()
        window.rolling.CopyFrom(RollingWindow(length=Duration(seconds=WINDOW_S), buckets=BUCKETS))
        budget = Budget(
            subject=subject,
            model_scope=scope,
            unit=BUDGET_UNIT_MONEY,
            limit=_limit(options, 0.0, 1.0),
            window=window,
            display_name="race",
        )
        answer = await api.CreateBudget(admin_pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
        made.append(answer.budget)
    return made


def _limit(options: Options, asked_per_s: float, share: float) -> int:
    """A share of what all holds of a window ask for, which is half of the largest amount on average; the callers ask at
    least once each."""
    asked = max(asked_per_s * WINDOW_S, options.routers * options.callers)
    return int(asked * AMOUNT_MAX / 2 * share)


async def _until(arena: Arena, api: Api, budgets: list[Budget], options: Options, holds: int) -> int:
    chance = random.Random(options.seed)
    deadline = time.monotonic() + options.seconds
    changes, said_at = 0, time.monotonic()
    of_late = deque([(time.monotonic(), 0)], maxlen=int(WINDOW_S / LIMIT_CHANGE_S))
    while time.monotonic() < deadline and arena.holds_answered() < holds:
        await asyncio.sleep(LIMIT_CHANGE_S)
        of_late.append((time.monotonic(), arena.holds_answered()))
        (since, before), (now, answered) = of_late[0], of_late[-1]
        if now > said_at + SAY_S:
            print(
                f"{answered} holds answered, {(answered - before) / (now - since):.0f} a second", flush=True
            )
            said_at = now
        budget = chance.choice(budgets)
        budget.limit = _limit(options, (answered - before) / (now - since), chance.uniform(0.3, 1.5))
        budget.etag = ""  # whichever change came last is replaced
        update = admin_pb.UpdateBudgetRequest(
            request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
        )
        try:
            budget.CopyFrom((await api.UpdateBudget(update)).budget)
        except TurnpikeError:
            continue  # the machine is that busy; the next change says another limit, whatever came of this one
        changes += 1
    return changes


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(prog="make race", description=__doc__)
    parser.add_argument("--holds", type=int, default=1_000_000, help="to be granted or refused")
    parser.add_argument("--seconds", type=float, default=1800.0, help="at most so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--routers", type=int, default=4)
    parser.add_argument("--callers", type=int, default=500, help="callers in each router")
    parser.add_argument("--keep", type=Path, help="folder for logs; absent: a temporary one")
    arguments = parser.parse_args()
    options = Options(
        kills=0,
        seconds=arguments.seconds,
        seed=arguments.seed,
        replicas=arguments.replicas,
        routers=arguments.routers,
        callers=arguments.callers,
    )
    with tempfile.TemporaryDirectory(prefix="turnpike-race-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = uvloop.run(race(options, arguments.holds, folder))
    print(report(outcome))
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
