"""A router as the chaos run sees one: a process that holds, settles, abandons, repeats, and writes down what it heard.

    python -m tests.chaos.budget.router <plan.json> <log> <gauge> <name> <seed>

What was acknowledged goes to its log before anything else is done with it; kill -9 loses no line. It asks the same
again, with the same id, until somebody answers. The gauge is a small shared file: how many acknowledged holds are open,
and when the answered question of late was asked.
"""

import asyncio
import contextlib
import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.duration_pb2 import Duration

from services.chassis.batch_client import BatchClient
from services.chassis.channel import connect
from services.kernel.errors import TurnpikeError
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub
from turnpike.common.v1 import error_pb2
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.principal_pb2 import AttemptKey, Principal
from turnpike.common.v1.usage_pb2 import USAGE_SOURCE_VENDOR, Usage

GAUGE = struct.Struct("=qqq")
"""Open acknowledged holds, when the last answered question was asked (monotonic ns), holds granted or refused."""
ASK_TIMEOUT_S = 1.5
GIVE_UP_S = 60.0
AGAIN = {
    error_pb2.ERROR_REASON_STORE_UNAVAILABLE,
    error_pb2.ERROR_REASON_OUTCOME_UNKNOWN,
    error_pb2.ERROR_REASON_OVERLOADED,
    error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
    error_pb2.ERROR_REASON_NOT_OWNER,
    error_pb2.ERROR_REASON_SERVICE_UNAVAILABLE,
}
ELSEWHERE = {error_pb2.ERROR_REASON_NOT_OWNER, error_pb2.ERROR_REASON_STORE_UNAVAILABLE}
"""Another replica may know better."""


class Router:
    """The process."""

    def __init__(self, plan: dict[str, Any], log: Path, gauge: Path, name: str, seed: int) -> None:
        self._plan = plan
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with gauge.open("r+b") as file:
            self._gauge = mmap.mmap(file.fileno(), GAUGE.size)
        self._name = name
        self._random = random.Random(seed)
        self._clients: dict[str, BatchClient[pb.ApplyOperation, pb.ApplyResult]] = {}
        self._current = plan["addresses"][0]
        self._number = 0
        self._open = 0
        self._holds = 0
        self._sequence = 0
        self.stopping = False

    async def run(self) -> None:
        """Works until told to stop, then finishes what is under way."""
        async with contextlib.AsyncExitStack() as stack:
            for address in self._plan["addresses"]:
                remote = await stack.enter_async_context(
                    connect("budget", address, token=self._plan["token"])
                )
                client: BatchClient[pb.ApplyOperation, pb.ApplyResult] = BatchClient(
                    remote,
                    BudgetServiceStub(remote.channel).Apply,
                    pack=lambda operations: pb.ApplyRequest(operations=operations),
                    unpack=lambda response: response.results,
                )
                self._clients[address] = await stack.enter_async_context(client)
            await asyncio.gather(*(self._work(number) for number in range(self._plan["callers"])))

    async def _work(self, number: int) -> None:
        while not self.stopping:
            try:
                await self._request(number)
            except TimeoutError:
                self._say("gave_up", caller=number)

    async def _request(self, number: int) -> None:
        """One request: a hold, perhaps extended, renewed, repeated; settled in one of several ways, or abandoned."""
        chance = self._random
        self._number += 1
        key = AttemptKey(
            organisation_id=self._plan["organisation_id"],
            request_id=f"{self._name}-{number}-{self._number}",
            attempt=1,
        )
        amount = chance.randint(1, self._plan["amount_max"])
        hold = pb.HoldRequest(key=key, terms=self._terms(amount))
        if not await self._hold(hold, amount):
            await asyncio.sleep(chance.uniform(0, 0.1))
            return
        if chance.random() < 0.1:
            await self._hold(hold, amount)  # the same again
        if chance.random() < 0.1:
            await self._extend(key, chance.randint(1, self._plan["amount_max"]))
        if chance.random() < 0.1:
            await self._renew(key)
        await asyncio.sleep(chance.uniform(0, 0.15))
        end = chance.random()
        if end < 0.06:
            self._abandoned(key)
        elif end < 0.10:
            self._abandoned(key)
            await asyncio.sleep(self._plan["lease_s"] * 1.3)
            await self._commit(key, chance.randint(0, amount), late=True)
        elif end < 0.18:
            await self._release(key)
        elif end < 0.25:
            await self._commit_and_hold(
                key, chance.randint(0, amount), chance.randint(1, self._plan["amount_max"])
            )
        elif end < 0.27:
            await self._commit(
                key, amount + chance.randint(1, self._plan["amount_max"] // 10)
            )  # dearer than held
        else:
            cost = chance.randint(0, amount)
            await self._commit(key, cost)
            if chance.random() < 0.1:
                await self._commit(key, cost, again=True)

    def _terms(self, amount: int) -> pb.HoldTerms:
        plan = self._plan
        return pb.HoldTerms(
            principal=Principal(
                organisation_id=plan["organisation_id"],
                team_id=plan["team_id"],
                project_id=plan["project_id"],
                key_id=plan["key_id"],
            ),
            model="openai/gpt-5.4-mini",
            amount=Money(nanos=amount),
            input_tokens_bound=100,
            output_tokens_bound=100,
            lease=Duration(nanos=int(plan["lease_s"] * 1e9) % 10**9, seconds=int(plan["lease_s"])),
        )

    async def _hold(self, request: pb.HoldRequest, amount: int) -> bool:
        floor = self._sequence
        result = await self._ask(pb.ApplyOperation(hold=request))
        self._holds += 1
        if result.WhichOneof("result") == "hold":
            grant = result.hold.grant
            self._heard(grant.ledger_sequence)
            self._count(1)
            self._say("hold", request.key, asked=amount, amount=grant.amount.nanos, seq=grant.ledger_sequence)
            return True
        refusal = result.refusal
        shortfalls = [[each.budget_id, each.left, each.asked] for each in refusal.budget_failure.shortfalls]
        self._say(
            "refused",
            request.key,
            reason=error_pb2.ErrorReason.Name(refusal.reason),
            asked=amount,
            floor=floor,
            shortfalls=shortfalls,
        )
        return False

    async def _commit(self, key: AttemptKey, cost: int, *, late: bool = False, again: bool = False) -> None:
        settlement = pb.Settlement(cost=Money(nanos=cost), usage=_usage(cost))
        result = await self._ask(pb.ApplyOperation(commit=pb.CommitRequest(key=key, settlement=settlement)))
        if result.WhichOneof("result") == "commit":
            self._receipt("commit", key, result.commit.receipt, cost)
        else:
            self._say(
                "not_committed", key, reason=error_pb2.ErrorReason.Name(result.refusal.reason), cost=cost
            )
        if not (late or again):
            self._count(-1)

    async def _release(self, key: AttemptKey) -> None:
        result = await self._ask(pb.ApplyOperation(release=pb.ReleaseRequest(key=key, reason="never sent")))
        if result.WhichOneof("result") == "release":
            self._heard(result.release.ledger_sequence)
            self._say(
                "release", key, seq=result.release.ledger_sequence, released=result.release.released.nanos
            )
        else:
            self._say("not_released", key, reason=error_pb2.ErrorReason.Name(result.refusal.reason))
        self._count(-1)

    async def _commit_and_hold(self, key: AttemptKey, cost: int, amount: int) -> None:
        settlement = pb.Settlement(cost=Money(nanos=cost), usage=_usage(cost))
        following = AttemptKey(organisation_id=key.organisation_id, request_id=key.request_id, attempt=2)
        result = await self._ask(
            pb.ApplyOperation(
                commit_and_hold=pb.CommitAndHoldRequest(
                    key=key, commit=settlement, next_attempt=2, next_terms=self._terms(amount)
                )
            )
        )
        if result.WhichOneof("result") != "commit_and_hold":
            self._say(
                "not_committed", key, reason=error_pb2.ErrorReason.Name(result.refusal.reason), cost=cost
            )
            self._count(-1)
            return
        answer = result.commit_and_hold
        self._receipt("commit", key, answer.receipt, cost)
        if answer.WhichOneof("next") == "grant":
            grant = answer.grant
            self._heard(grant.ledger_sequence)
            self._say("hold", following, asked=amount, amount=grant.amount.nanos, seq=grant.ledger_sequence)
            await self._commit(following, amount // 2)
        else:
            self._count(-1)

    async def _extend(self, key: AttemptKey, amount: int) -> None:
        request = pb.ExtendAmountRequest(key=key, extension=1, amount=Money(nanos=amount), output_tokens=10)
        result = await self._ask(pb.ApplyOperation(extend_amount=request))
        if result.WhichOneof("result") == "extend_amount":
            grant = result.extend_amount.grant
            self._heard(grant.ledger_sequence)
            self._say("extend", key, added=amount, amount=grant.amount.nanos, seq=grant.ledger_sequence)

    async def _renew(self, key: AttemptKey) -> None:
        lease = Duration(seconds=int(self._plan["lease_s"]) + 1)
        request = pb.RenewLeaseRequest(keys=[key], lease=lease)
        result = await self._ask(pb.ApplyOperation(renew_lease=request))
        if result.WhichOneof("result") == "renew_lease" and not result.renew_lease.not_open:
            expires = result.renew_lease.lease_expires_at
            self._say("renew", key, expires_us=expires.seconds * 1_000_000 + expires.nanos // 1000)

    def _receipt(self, what: str, key: AttemptKey, receipt: pb.SettlementReceipt, cost: int) -> None:
        self._heard(receipt.ledger_sequence)
        self._say(
            what,
            key,
            cost=cost,
            charged=receipt.charged.nanos,
            overage=receipt.overage.nanos,
            unconfirmed=receipt.unconfirmed,
            corrected=receipt.corrected,
            seq=receipt.ledger_sequence,
        )

    async def _ask(self, operation: pb.ApplyOperation) -> pb.ApplyResult:
        """Asks until somebody answers; the same id all the way."""
        give_up = time.monotonic() + GIVE_UP_S
        addresses = self._plan["addresses"]
        while time.monotonic() < give_up:
            address, asked_ns = self._current, time.monotonic_ns()
            asked = pb.ApplyOperation()
            asked.CopyFrom(operation)
            try:
                result = await self._clients[address].call(asked, timeout_s=ASK_TIMEOUT_S)
            except TurnpikeError:
                if self._current == address:
                    self._current = addresses[(addresses.index(address) + 1) % len(addresses)]
            else:
                refusal = result.refusal if result.WhichOneof("result") == "refusal" else None
                if refusal is None or refusal.reason not in AGAIN:
                    GAUGE.pack_into(self._gauge, 0, self._open, asked_ns, self._holds)
                    return result
                owner = refusal.metadata.get("owner_address", "")
                if owner in self._clients:
                    self._current = owner
                elif refusal.reason in ELSEWHERE:
                    self._current = addresses[(addresses.index(address) + 1) % len(addresses)]
            await asyncio.sleep(self._random.uniform(0.01, 0.05))
        raise TimeoutError("nobody answered")

    def _heard(self, sequence: int) -> None:
        self._sequence = max(self._sequence, sequence)

    def _count(self, change: int) -> None:
        self._open += change
        GAUGE.pack_into(self._gauge, 0, self._open, GAUGE.unpack_from(self._gauge)[1], self._holds)

    def _abandoned(self, key: AttemptKey) -> None:
        self._say("abandoned", key)
        asyncio.get_running_loop().call_later(self._plan["lease_s"], self._count, -1)

    def _say(self, what: str, key: AttemptKey | None = None, **facts: Any) -> None:
        about = {} if key is None else {"r": key.request_id, "a": key.attempt}
        line = json.dumps({"what": what, "at_us": time.time_ns() // 1000, **about, **facts})
        os.write(self._log, line.encode() + b"\n")


def _usage(cost: int) -> Usage:
    return Usage(input_tokens=50, output_tokens=cost % 100, source=USAGE_SOURCE_VENDOR)


async def main() -> None:
    """Reads its arguments and works until SIGTERM."""
    plan, log, gauge, name, seed = sys.argv[1:]
    router = Router(json.loads(Path(plan).read_text()), Path(log), Path(gauge), name, int(seed))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, setattr, router, "stopping", True)
    await router.run()


if __name__ == "__main__":
    uvloop.run(main())
