"""The budget service's ledger, as it grows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from services.analytics.convert import from_pb_ledger
from services.analytics.domain.usage import LedgerPage
from services.analytics.ports import EntriesLeft
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub


class RemoteLedger:
    """The ledger's tail. Raises ServiceUnavailable or OutcomeUnknown when the budget service goes away, EntriesLeft
    where a page would not follow on its position."""

    def __init__(self, budget: Remote) -> None:
        self._budget = budget
        self._stub = BudgetServiceStub(budget.channel)

    async def read(self, after: Mapping[str, int]) -> AsyncIterator[Sequence[LedgerPage]]:
        """Pages after the given positions, for ever; an empty sequence is a heartbeat."""
        request = pb.TailLedgerRequest(after_sequences=dict(after), usage_only=True)
        try:
            async with self._budget.stream(self._stub.TailLedger, request) as responses:
                async for response in responses:
                    yield from_pb_ledger(list(response.entries))
        except RemoteError as error:
            if error.reason != "ENTRIES_ARCHIVED":
                raise
            facts = error.facts
            first, since = int(facts["first_sequence"]), datetime.fromisoformat(facts["whole_from"])
            raise EntriesLeft(facts["organisation_id"], first, since) from error
