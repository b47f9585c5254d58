"""RPCs by which old entries leave the ledger."""

from collections.abc import AsyncIterator

from services.budget.admin_servicer.calls import asking, changing
from services.budget.admin_servicer.ledger import HASH_BYTES, own_organisation
from services.budget.convert_entities import check_request_id, from_pb_timestamp
from services.budget.domain.checks import Checks
from services.budget.use_cases.archiving import Archiving
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc


class ArchiveRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Export and removal of entries."""

    def __init__(self, archiving: Archiving, clock: Clock) -> None:
        self._archiving = archiving
        self._clock = clock

    async def ExportLedger(
        self, request: pb.ExportLedgerRequest, context: object
    ) -> AsyncIterator[pb.ExportLedgerResponse]:
        checks = Checks()
        organisation_id = own_organisation(checks, request.organisation_id)
        checks.require(request.after_sequence >= 0, "after_sequence", "must not be negative")
        until = request.occurred_until if request.HasField("occurred_until") else None
        before = from_pb_timestamp(checks, "occurred_until", until)
        checks.done()
        pages = self._archiving.export(organisation_id, request.after_sequence, before, asking())
        async for page in pages:
            yield pb.ExportLedgerResponse(
                after_sequence=page.after_sequence,
                previous_hash=page.previous_hash,
                entries=[
                    pb.RawLedgerEntry(sequence=entry.sequence, body=entry.body, hash=entry.hash)
                    for entry in page.entries
                ],
            )

    async def TrimLedger(self, request: pb.TrimLedgerRequest, context: object) -> pb.TrimLedgerResponse:
        checks = Checks()
        check_request_id(checks, request)
        organisation_id = checks.id("organisation_id", OrganisationId, request.organisation_id)
        checks.require(request.until_sequence >= 0, "until_sequence", "must not be negative")
        good = len(request.until_hash) == (HASH_BYTES if request.until_sequence else 0)
        checks.require(good, "until_hash", f"must have {HASH_BYTES} bytes, or none if nothing is to leave")
        checks.done()
        done, removed = await self._archiving.trim(
            organisation_id, request.until_sequence, request.until_hash, changing(request, self._clock)
        )
        return pb.TrimLedgerResponse(checkpoint_sequence=done.checkpoint_sequence, entries_removed=removed)
