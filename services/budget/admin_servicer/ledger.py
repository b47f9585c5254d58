"""RPCs for the ledger: lists, verification, chain heads, re-rating, reconciliation."""

from typing import Any

from services.budget.admin_servicer.calls import asking, changing
from services.budget.convert_entities import (
    check_request_id,
    check_text,
    from_pb_page,
    from_pb_timestamp,
    to_pb_page_token,
    to_pb_timestamp,
)
from services.budget.domain.checks import Checks
from services.budget.domain.entities import Role
from services.budget.domain.invoice import read_invoice
from services.budget.use_cases.access import selection
from services.budget.use_cases.ledger import Ledger, LedgerFilter
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from services.kernel.model_ref import PROVIDER
from services.kernel.pricing import Usage
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc
from turnpike.budget.v1.ledger_pb2 import LedgerEntryKind
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.usage_pb2 import Usage as PbUsage

HASH_BYTES = 32


class LedgerRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """The ledger for admins."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def ListLedgerEntries(
        self, request: pb.ListLedgerEntriesRequest, context: object
    ) -> pb.ListLedgerEntriesResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        organisation_id = own_organisation(checks, request.organisation_id)
        position = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
        checks.require(not after or position > 0, "page_token", "is not the next_page_token of this list")
        checks.require(request.after_sequence >= 0, "after_sequence", "must not be negative")
        for index, kind in enumerate(request.kinds):
            checks.require(kind in LedgerEntryKind.values()[1:], f"kinds[{index}]", "is no kind of entry")
        wanted = LedgerFilter(
            organisation_id=organisation_id,
            after_sequence=max(request.after_sequence, 0 if request.newest_first else position),
            before_sequence=position or None if request.newest_first else None,
            kinds=tuple(request.kinds) or None,
            request_id=request.ledger_request_id or None,
            budget_id=request.budget_id or None,
            occurred_from=_time(checks, request, "occurred_from"),
            occurred_until=_time(checks, request, "occurred_until"),
            newest_first=request.newest_first,
        )
        checks.done()
        page = await self._ledger.page(wanted, count, asking())
        more = page.next_sequence is not None
        return pb.ListLedgerEntriesResponse(
            entries=page.entries, next_page_token=to_pb_page_token(str(page.next_sequence), more=more)
        )

    async def VerifyLedger(self, request: pb.VerifyLedgerRequest, context: object) -> pb.VerifyLedgerResponse:
        checks = Checks()
        organisation_id = own_organisation(checks, request.organisation_id)
        checks.require(request.after_sequence >= 0, "after_sequence", "must not be negative")
        good = len(request.expected_head_hash) in (0, HASH_BYTES)
        checks.require(good, "expected_head_hash", f"must have {HASH_BYTES} bytes")
        checks.done()
        finding = await self._ledger.verify(
            organisation_id, request.after_sequence, request.expected_head_hash, asking()
        )
        return pb.VerifyLedgerResponse(
            entries_checked=finding.entries_checked,
            head_sequence=finding.head_sequence,
            head_hash=finding.head_hash,
            intact=finding.intact,
            first_broken_sequence=finding.first_broken_sequence,
            problem=finding.problem,
            total_mismatches=finding.total_mismatches,
            after_sequence=finding.after_sequence,
        )

    async def ListChainHeads(
        self, request: pb.ListChainHeadsRequest, context: object
    ) -> pb.ListChainHeadsResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        checks.done()
        chosen = selection(asking(), organisation_id=None, after=after, page_size=count)
        heads = [head for head in await self._ledger.heads(chosen.organisation_id) if head[0] > after]
        now = to_pb_timestamp(self._clock.now())
        page = heads[:count]
        return pb.ListChainHeadsResponse(
            heads=[
                pb.ChainHead(organisation_id=organisation, sequence=sequence, hash=hashed, observed_at=now)
                for organisation, sequence, hashed in page
            ],
            next_page_token=to_pb_page_token(page[-1][0] if page else "", more=len(heads) > count),
        )

    async def RerateUsage(self, request: pb.RerateUsageRequest, context: object) -> pb.RerateUsageResponse:
        checks = Checks()
        check_request_id(checks, request)
        organisation_id = checks.id("organisation_id", OrganisationId, request.organisation_id)
        since, until = _time(checks, request, "occurred_from"), _time(checks, request, "occurred_until")
        checks.require(since is not None, "occurred_from", "is required")
        checks.require(until is not None, "occurred_until", "is required")
        if since is not None and until is not None:
            checks.require(since < until, "occurred_until", "must be later than occurred_from")
        if request.model_pattern:
            checks.model_patterns("model_pattern", [request.model_pattern])
        checks.done()
        assert since is not None, "what is missing was said"
        assert until is not None, "what is missing was said"
        done = await self._ledger.rerate(
            organisation_id,
            since,
            until,
            request.model_pattern,
            request.dry_run,
            changing(request, self._clock),
        )
        return pb.RerateUsageResponse(entries_repriced=done.entries, difference=Money(nanos=done.nanos))

    async def ReconcileInvoice(
        self, request: pb.ReconcileInvoiceRequest, context: object
    ) -> pb.ReconcileInvoiceResponse:
        checks = Checks()
        check_text(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        good = PROVIDER.fullmatch(request.provider) is not None
        checks.require(good, "provider", "must be a provider's name such as openai")
        checks.done()
        invoice = read_invoice("csv", request.csv, request.provider)
        lines = await self._ledger.reconcile(organisation_id, request.provider, invoice, asking())
        return pb.ReconcileInvoiceResponse(
            lines=[
                pb.ReconciliationLine(
                    day=line.day,
                    model=line.model,
                    invoiced=Money(nanos=line.invoiced),
                    booked=Money(nanos=line.booked),
                    difference=Money(nanos=line.difference),
                    usage=None if line.usage is None else to_pb_usage(line.usage),
                )
                for line in lines
            ],
            difference=Money(nanos=sum(line.difference for line in lines)),
        )


def to_pb_usage(usage: Usage) -> PbUsage:
    """Counts on the wire; what nobody knows is absent."""
    known = {name: getattr(usage, name) for name in Usage.__slots__}
    return PbUsage(**{name: count for name, count in known.items() if count is not None})


def own_organisation(checks: Checks, text: str) -> OrganisationId:
    """The organisation that is asked about: the caller's own where he has one and names none."""
    admin = asking().admin
    if not text and admin.role is not Role.OPERATOR and admin.organisation_id is not None:
        return admin.organisation_id
    return checks.id("organisation_id", OrganisationId, text)


def _time(checks: Checks, request: Any, field: str) -> Any:
    value = getattr(request, field) if request.HasField(field) else None
    return from_pb_timestamp(checks, field, value)
