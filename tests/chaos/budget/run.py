"""One chaos run: a stage, a seeded sequence of disasters, and the verdict."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from services.local import ports
from services.local.redis import find_program, serving
from tests.chaos.budget.arena import Arena, Caller, PostgresServer, Replica
from tests.chaos.budget.verify import Verdict, verify
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1.entities_pb2 import Budget, BudgetSubject, RollingWindow, Window
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_CONCURRENCY, BUDGET_UNIT_MONEY, BUDGET_UNIT_REQUESTS

LEASE_S = 2.0
AMOUNT_MAX = 1_000_000_000
RECOVERY_S_MAX = 15.0
GAP_S_P99_MAX = 3.0
BETWEEN_DEATH_AND_REPLY = "owner dies between commit and reply"
KINDS = {
    "owner killed": 24,
    BETWEEN_DEATH_AND_REPLY: 14,
    "owner dies before its write": 6,
    "some replica killed": 12,
    "postgres killed": 20,
    "router killed": 8,
    "owner paused": 6,
    "postgres paused": 3,
    "connections cut": 5,
    "redis flushed": 2,
}
"""Disasters and how often each is drawn."""
KILLS = frozenset(
    {
        "owner killed",
        BETWEEN_DEATH_AND_REPLY,
        "owner dies before its write",
        "some replica killed",
        "postgres killed",
        "router killed",
    }
)
DISRUPTIVE = KILLS - {"some replica killed", "router killed"}


@dataclass(frozen=True)
class Options:
    """How much, how long, how seeded."""

    kills: int
    seconds: float
    seed: int
    replicas: int = 3
    routers: int = 2
    callers: int = 24
    durable: bool = True


@dataclass
class Outcome:
    """What a run came to."""

    options: Options
    verdict: Verdict
    events: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    gaps_s: list[float] = field(default_factory=list)
    after_postgres_s: list[float] = field(default_factory=list)
    """What of a gap was left once a killed Postgres took connections again: the service's own part."""
    seconds: float = 0.0
    enough: bool = True

    @property
    def gap_p50(self) -> float:
        return _percentile(self.gaps_s, 0.5)

    @property
    def gap_p99(self) -> float:
        return _percentile(self.gaps_s, 0.99)

    @property
    def passed(self) -> bool:
        """Whether every money figure is as it must be, and enough was killed to say so."""
        return self.verdict.sound and self.enough


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def chaos(options: Options, folder: Path) -> Outcome:
    """Builds the stage, lets disasters happen until enough were counted, and verifies."""
    postgres = PostgresServer(folder / "postgres", durable=options.durable)
    replicas: list[Replica] = []
    callers: list[Caller] = []
    arena = Arena(postgres, replicas, callers)
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.close)
        postgres.start()
        redis_url = stack.enter_context(serving(folder / "redis")) if find_program() else ""
        for _ in range(options.replicas):
            replica = Replica(postgres.dsn, folder, ports.any_free())
            stack.callback(replica.stop)
            replica.start()
            replica.wait_ready()
            replicas.append(replica)
        rolling = await _set_up(arena, folder, options)
        for number in range(options.routers):
            caller = Caller(folder, number, options.seed * 10 + number)
            caller.start()
            callers.append(caller)
        stack.callback(stop_all, callers)
        begun = time.monotonic()
        outcome = Outcome(options, Verdict())
        await _disasters(arena, options, outcome, redis_url)
        outcome.seconds = time.monotonic() - begun
        for caller in callers:
            await asyncio.to_thread(caller.stop, 20.0)
        await arena.settled(LEASE_S + 20.0)
        entries, counters = await arena.ledger(folder)
        logs = [log for caller in callers for log in caller.logs if log.exists()]
        outcome.verdict = verify(logs, entries, counters, rolling)
        outcome.enough = outcome.counted >= options.kills
        return outcome


def stop_all(callers: list[Caller]) -> None:
    """Kills what is still there."""
    for caller in callers:
        if caller.process is not None and caller.process.poll() is None:
            caller.kill()


async def _set_up(arena: Arena, folder: Path, options: Options) -> dict[str, tuple[int, int]]:
    """A tenant with budgets that are nearly exhausted all the time, of several kinds; its rolling windows."""
    from bench.budget.stage import admin_api

    async with admin_api(arena.replicas[0].address) as api:
        tenant = await make_tenant(api, "chaos")
        rolling = await _budgets(api, tenant, options)
    arena.organisation_id = tenant.organisation.organisation_id
    arena.write_plan(
        folder,
        organisation_id=tenant.organisation.organisation_id,
        team_id=tenant.team.team_id,
        project_id=tenant.project.project_id,
        key_id=tenant.key.key_id,
        callers=options.callers,
        amount_max=AMOUNT_MAX,
        lease_s=LEASE_S,
    )
    return rolling


async def _budgets(api: Api, tenant: Tenant, options: Options) -> dict[str, tuple[int, int]]:
    for budget in tenant.budgets:
        budget.limit = 4 * 10**18
        await api.UpdateBudget(
            admin_pb.UpdateBudgetRequest(
                request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
            )
        )
    together = options.routers * options.callers
    last_5_s, last_2_s = Window(), Window()
    last_5_s.rolling.CopyFrom(RollingWindow(length=Duration(seconds=5), buckets=5))
    last_2_s.rolling.CopyFrom(RollingWindow(length=Duration(seconds=2), buckets=4))
    made = []
    for subject, unit, limit, window in (
        (
            BudgetSubject(organisation_id=tenant.organisation.organisation_id),
            BUDGET_UNIT_MONEY,
            together * AMOUNT_MAX * 3,
            last_5_s,
        ),
        (BudgetSubject(project_id=tenant.project.project_id), BUDGET_UNIT_REQUESTS, together * 8, last_2_s),
        (BudgetSubject(key_id=tenant.key.key_id), BUDGET_UNIT_CONCURRENCY, together * 3 // 4, None),
    ):
        budget = Budget(subject=subject, unit=unit, limit=limit, window=window, display_name="chaos")
        answer = await api.CreateBudget(admin_pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
        made.append(answer.budget)
    return {made[0].budget_id: (1_000_000, 5), made[1].budget_id: (500_000, 4)}


async def _disasters(arena: Arena, options: Options, outcome: Outcome, redis_url: str) -> None:
    chance = random.Random(options.seed)
    deadline = time.monotonic() + options.seconds
    await _recovered(arena, time.monotonic())
    while outcome.counted < options.kills and time.monotonic() < deadline:
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        kind = chance.choices(list(KINDS), weights=list(KINDS.values()))[0]
        await _others_ready(arena)
        open_before = arena.open_holds()
        happened_at = await _happen(arena, kind, chance, redis_url)
        if happened_at is None:
            continue
        outcome.events[kind] += 1
        if kind in KILLS and open_before:
            outcome.counted += 1
        gap = await _recovered(arena, happened_at)
        if kind in DISRUPTIVE:
            outcome.gaps_s.append(gap)
        if kind == "postgres killed":
            outcome.after_postgres_s.append(max(0.0, happened_at + gap - arena.postgres.ready_at))
        if gap > GAP_S_P99_MAX:
            print(f"{kind} at {happened_at:.2f}: {gap:.2f} s until answered again", flush=True)
        for replica in arena.replicas:
            if not replica.alive:
                replica.start()
        if outcome.counted and outcome.counted % 25 == 0 and kind in KILLS:
            print(
                f"{outcome.counted} kills, gap p50 {outcome.gap_p50:.2f} s, p99 {outcome.gap_p99:.2f} s",
                flush=True,
            )
    for replica in arena.replicas:
        await asyncio.to_thread(replica.wait_ready)


async def _others_ready(arena: Arena) -> None:
    """A disaster at a time: whoever died before is back, if the machine can start a process in good time."""
    deadline = time.monotonic() + RECOVERY_S_MAX
    while time.monotonic() < deadline and not all(replica.ready for replica in arena.replicas):
        await asyncio.sleep(0.02)


async def _happen(arena: Arena, kind: str, chance: random.Random, redis_url: str) -> float | None:
    """Lets one disaster happen; when it did, or None if it could not."""
    if kind in ("postgres killed", "postgres paused"):
        return await _to_postgres(arena, kind, chance)
    if kind == "router killed":
        caller = chance.choice(arena.callers)
        caller.kill()
        caller.start()
        return time.monotonic()
    if kind == "connections cut":
        return time.monotonic() if await arena.drop_connections() else None
    if kind == "redis flushed":
        return await _flush(redis_url)
    owner = await arena.owner()
    if kind == "some replica killed":
        owner = chance.choice(arena.replicas)
    if owner is None or not owner.alive:
        return None
    assert owner.process is not None
    if kind == "owner paused":
        at = time.monotonic()
        owner.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        owner.process.send_signal(signal.SIGCONT)
        return at
    if kind in (BETWEEN_DEATH_AND_REPLY, "owner dies before its write"):
        return await _at_failpoint(
            owner, "after_write" if kind == BETWEEN_DEATH_AND_REPLY else "before_write"
        )
    owner.kill()
    at = time.monotonic()
    if chance.random() < 0.5:
        owner.start()
    return at


async def _at_failpoint(owner: Replica, place: str) -> float | None:
    """Arms a place in the owner and waits until it has died there."""
    assert owner.process is not None
    armed = owner.failpoints / f"{place}.{owner.process.pid}"
    armed.touch()
    deadline = time.monotonic() + 3.0
    while owner.alive:
        if time.monotonic() > deadline:
            armed.unlink(missing_ok=True)
            return None
        await asyncio.sleep(0.002)
    return None if armed.exists() else time.monotonic()


async def _to_postgres(arena: Arena, kind: str, chance: random.Random) -> float:
    at = time.monotonic()
    if kind == "postgres killed":
        await asyncio.to_thread(arena.postgres.kill)
        await asyncio.to_thread(arena.postgres.start)
        return at
    arena.postgres.signal_all(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(0.2, 2.5))
    arena.postgres.signal_all(signal.SIGCONT)
    return at


async def _flush(redis_url: str) -> float | None:
    if not redis_url:
        return None
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as client:
        await client.flushall()
    return time.monotonic()


async def _recovered(arena: Arena, since: float) -> float:
    """How long it took until a question asked after `since` was answered."""
    deadline = time.monotonic() + RECOVERY_S_MAX
    while time.monotonic() < deadline:
        if arena.last_asked() > since:
            return arena.last_asked() - since
        await asyncio.sleep(0.005)
    return RECOVERY_S_MAX


def report(outcome: Outcome) -> str:
    """The figures, for people."""
    verdict, options = outcome.verdict, outcome.options
    kills = {kind: count for kind, count in outcome.events.items() if kind in KILLS}
    others = {kind: count for kind, count in outcome.events.items() if kind not in KILLS}
    lines = [
        f"seed {options.seed}, {options.replicas} replicas, {options.routers} routers x {options.callers} callers,"
        f" {outcome.seconds:.0f} s",
        f"kills that count: {outcome.counted} of {options.kills} wanted; all kills: {kills}",
        f"other disasters: {others}",
        f"acknowledged: {verdict.acknowledged}",
        f"ledger: {verdict.entries} entries, by kind {dict(sorted(verdict.kinds.items()))}",
        f"overshoot: {verdict.overshoot} admissions; tightest window had {verdict.tightest_left} nanos left",
        f"lost acknowledgements: {len(verdict.lost)}; refusals that were untrue: {len(verdict.wrong_refusals)}",
        f"ledger problems: {len(verdict.broken)}; holds never settled: {verdict.open}",
        f"unconfirmed charges in the end: {verdict.unconfirmed}",
        f"gaps until answered again ({len(outcome.gaps_s)}): p50 {outcome.gap_p50:.2f} s, p99 {outcome.gap_p99:.2f} s,"
        f" max {max(outcome.gaps_s, default=0.0):.2f} s",
        f"of these after Postgres was back ({len(outcome.after_postgres_s)}):"
        f" p50 {_percentile(outcome.after_postgres_s, 0.5):.2f} s,"
        f" max {max(outcome.after_postgres_s, default=0.0):.2f} s",
        "PASSED" if outcome.passed else "FAILED",
    ]
    lines += [f"  lost: {each}" for each in verdict.lost[:5]]
    lines += [f"  untrue: {each}" for each in verdict.wrong_refusals[:5]]
    lines += [f"  broken: {each}" for each in verdict.broken[:5]]
    return "\n".join(lines)
