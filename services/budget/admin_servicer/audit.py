"""RPCs for the audit trail."""

from services.budget.admin_ports import AdminStore
from services.budget.admin_servicer.calls import asking
from services.budget.convert_entities import from_pb_page, to_pb_page_token, to_pb_timestamp
from services.budget.domain.admin import AuditRecord
from services.budget.domain.checks import Checks
from services.budget.use_cases.access import selection
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc


class AuditRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """What admins changed."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store

    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, context: object
    ) -> pb.ListAuditRecordsResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        checks.done()
        chosen = selection(
            asking(),
            organisation_id=organisation_id,
            after=after,
            page_size=count,
            parent_id=request.entity_id or None,
            newest_first=True,
        )
        async with self._store.reading() as reads:
            records = await reads.audit_records(chosen)
        return pb.ListAuditRecordsResponse(
            audit_records=[to_pb_audit_record(record) for record in records],
            next_page_token=to_pb_page_token(
                records[-1].audit_id if records else "", more=len(records) == count
            ),
        )


def to_pb_audit_record(record: AuditRecord) -> pb.AuditRecord:
    """A record of the trail; the entities in it are JSON already."""
    return pb.AuditRecord(
        audit_id=record.audit_id,
        occurred_at=to_pb_timestamp(record.occurred_at),
        admin_token_id=record.admin_token_id,
        method=record.method,
        entity_id=record.entity_id,
        organisation_id=record.organisation_id or "",
        before_json=str(record.before or ""),
        after_json=str(record.after or ""),
        change_request_id=record.change_request_id,
    )
