"""What a run left behind, from every side: the ledger, the decision records, and the wire as the vendors saw it.

books = await read_books(running, organisation_id, wire_logs)
books.problems()        # empty: every attempt is in all of them, once, with the same cost to the nano
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.deployment import Deployment
from turnpike.budget.v1 import budget_admin_pb2, budget_pb2, ledger_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import decision_pb2

SETTLE_TIMEOUT_S = 60.0
RPC_TIMEOUT_S = 60.0

_CHARGES = (
    ledger_pb2.LEDGER_ENTRY_KIND_COMMIT,
    ledger_pb2.LEDGER_ENTRY_KIND_EXPIRE,
    ledger_pb2.LEDGER_ENTRY_KIND_CORRECT,
)
_SETTLED = (*_CHARGES[:2], ledger_pb2.LEDGER_ENTRY_KIND_RELEASE)

NEVER_SENT = frozenset(
    {
        error_pb2.ERROR_REASON_ENDPOINT_RESTING,
        error_pb2.ERROR_REASON_VENDOR_UNREACHABLE,
        error_pb2.ERROR_REASON_SERVICE_UNAVAILABLE,
    }
)
"""Failures of attempts that a vendor need not have seen."""

Attempted = tuple[str, int]
"""A request's id and the number of an attempt."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as a vendor saw it."""

    request_id: str
    model: str
    fault: str
    outcome: str
    arrived_at: float
    answer: str
    """What it said, or would have said."""


@dataclass(slots=True)
class Books:
    """All of it."""

    holds: Mapping[Attempted, str]
    """The model of each hold."""
    charged: Mapping[Attempted, int]
    """Nano-USD charged for each settled attempt; 0 for a hold that was given back."""
    decisions: Mapping[str, decision_pb2.Decision]
    """By request id."""
    wire: Sequence[Wire]
    chain: str = ""
    """What is wrong with the hash chain; empty: nothing."""
    twice: Sequence[str] = field(default_factory=list)

    @property
    def spent_nanos(self) -> int:
        """What the ledger says was spent."""
        return sum(self.charged.values())

    def attempts(self) -> Iterable[tuple[str, decision_pb2.AttemptRecord]]:
        """Every recorded attempt with its request's id."""
        for request_id, decision in self.decisions.items():
            for attempt in decision.attempts:
                yield request_id, attempt

    def problems(self) -> list[str]:
        """Where the sides disagree, for people; empty: nowhere."""
        found = [f"the chain of the ledger is broken: {self.chain}"] if self.chain else []
        found += self.twice
        found += self._ledger_against_decisions()
        found += self._wire_against_decisions()
        return found

    def _ledger_against_decisions(self) -> Iterable[str]:
        recorded = {(request_id, attempt.attempt): attempt for request_id, attempt in self.attempts()}
        for key in self.holds.keys() - self.charged.keys():
            yield f"attempt {key} is held and not settled"
        for key in self.holds.keys() - recorded.keys():
            yield f"attempt {key} is in the ledger and in no decision"
        for key, attempt in recorded.items():
            if key not in self.holds:
                yield f"attempt {key} is in a decision and not in the ledger"
            elif attempt.model != self.holds[key]:
                yield f"attempt {key} is {attempt.model} in its decision and {self.holds[key]} in the ledger"
            elif attempt.cost.nanos != self.charged.get(key, 0):
                yield f"attempt {key} cost {attempt.cost.nanos}, says its decision; {self.charged.get(key)}, the ledger"

    def _wire_against_decisions(self) -> Iterable[str]:
        seen = Counter((call.request_id, call.model) for call in self.wire)
        sent: Counter[tuple[str, str]] = Counter()
        unsent: Counter[tuple[str, str]] = Counter()
        for request_id, attempt in self.attempts():
            (unsent if attempt.failure in NEVER_SENT else sent)[request_id, attempt.model] += 1
        for key in seen | sent:
            if not sent[key] <= seen[key] <= sent[key] + unsent[key]:
                yield f"{key}: {seen[key]} calls on the wire, {sent[key]} attempts that were sent"


async def read_books(
    running: Deployment, organisation_id: str, asked: int, wire_logs: Sequence[Path]
) -> Books:
    """Reads it all, once `asked` decisions are recorded and nothing is held any more; raises TimeoutError if not.

    `wire_logs`: the logs of the simulators. A call's request id is the first word of its prompt, its model is the
    instance's and the model's name with a slash between.
    """
    connection = await asyncpg.connect(running.dsn)
    try:
        decisions = await _decisions(connection, organisation_id, asked)
    finally:
        await connection.close()
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            entries = await _entries(running, organisation_id)
            holds, charged, twice = _by_attempt(entries)
            if holds.keys() <= charged.keys():
                break
            await asyncio.sleep(0.5)
    wire = [call for log in wire_logs for call in _calls(log)]
    return Books(holds, charged, decisions, wire, await _chain(running, organisation_id), twice)


async def _decisions(
    connection: "asyncpg.Connection[asyncpg.Record]", organisation_id: str, asked: int
) -> dict[str, decision_pb2.Decision]:
    count = "SELECT count(*) FROM analytics.decision WHERE organisation_id = $1"
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while await connection.fetchval(count, organisation_id) < asked:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.2)
    rows = await connection.fetch(
        "SELECT request_id, record FROM analytics.decision WHERE organisation_id = $1", organisation_id
    )
    return {row["request_id"]: decision_pb2.Decision.FromString(row["record"]) for row in rows}


async def _entries(running: Deployment, organisation_id: str) -> list[ledger_pb2.LedgerEntry]:
    request = budget_pb2.TailLedgerRequest(after_sequences={organisation_id: 0})
    found: list[ledger_pb2.LedgerEntry] = []
    async with running.as_service("budget") as budget:
        stub = BudgetServiceStub(budget.channel)
        async with budget.stream(stub.TailLedger, request, timeout_s=RPC_TIMEOUT_S) as parts:
            async for part in parts:
                if not part.entries:
                    break
                found.extend(entry for entry in part.entries if entry.organisation_id == organisation_id)
    return found


def _by_attempt(
    entries: Iterable[ledger_pb2.LedgerEntry],
) -> tuple[dict[Attempted, str], dict[Attempted, int], list[str]]:
    holds: dict[Attempted, str] = {}
    charged: dict[Attempted, int] = {}
    twice: list[str] = []
    for entry in entries:
        key = (entry.key.request_id, entry.key.attempt)
        if entry.kind == ledger_pb2.LEDGER_ENTRY_KIND_HOLD:
            if key in holds:
                twice.append(f"attempt {key} is held twice")
            holds[key] = entry.model
        elif entry.kind in _SETTLED:
            if key in charged:
                twice.append(f"attempt {key} is settled twice")
            charged[key] = entry.amount.nanos if entry.kind in _CHARGES else 0
        elif entry.kind == ledger_pb2.LEDGER_ENTRY_KIND_CORRECT:
            charged[key] += entry.amount.nanos
    return holds, charged, twice


def _calls(log: Path) -> Iterable[Wire]:
    for line in log.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        yield Wire(
            told["prompt_start"].split(" ", 1)[0],
            f"{told['instance']}/{told['model']}",
            told["fault"],
            told["outcome"],
            told["arrived_at"],
            told["answer"],
        )


async def _chain(running: Deployment, organisation_id: str) -> str:
    async with running.as_operator("budget") as budget:
        answer = await budget.unary(
            BudgetAdminServiceStub(budget.channel).VerifyLedger,
            budget_admin_pb2.VerifyLedgerRequest(organisation_id=organisation_id),
            timeout_s=RPC_TIMEOUT_S,
        )
    return "" if answer.intact else f"{answer.problem} (entry {answer.first_broken_sequence})"
