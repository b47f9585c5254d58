"""RPCs for alerts and the webhooks that they are sent to."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from services.budget.admin_servicer.calls import changing
from services.budget.admin_servicer.entities import list_page
from services.budget.convert_entities import check_named, check_request_id, to_pb_entity
from services.budget.domain.alerts import AlertKind
from services.budget.domain.checks import Checks
from services.budget.domain.kinds import ALERT, WEBHOOK
from services.budget.use_cases.entities import Entities
from services.budget.use_cases.webhooks import Webhooks
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc

URL_LENGTH_MAX = 2000


class AlertRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Alerts and webhooks."""

    def __init__(
        self, entities: Entities, webhooks: Webhooks, clock: Clock, trusted_hosts: frozenset[str]
    ) -> None:
        self._entities = entities
        self._webhooks = webhooks
        self._clock = clock
        self._trusted_hosts = trusted_hosts

    async def ListAlerts(self, request: pb.ListAlertsRequest, context: object) -> pb.ListAlertsResponse:
        page, token = await list_page(
            self._entities, ALERT, request, pb.Alert, parent_id=request.budget_id, newest_first=True
        )
        return pb.ListAlertsResponse(alerts=page, next_page_token=token)

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: object
    ) -> pb.CreateWebhookResponse:
        checks, given = Checks(), request.webhook
        check_request_id(checks, request)
        self._check_url(checks, "webhook.url", given.url)
        organisation_id = checks.optional_id("webhook.organisation_id", OrganisationId, given.organisation_id)
        kinds = _kinds(checks, "webhook.kinds", given.kinds)
        checks.done()
        made = await self._webhooks.create(
            given.url, kinds, given.chain_heads, organisation_id, changing(request, self._clock)
        )
        webhook = to_pb_entity(made.webhook, pb.Webhook)
        return pb.CreateWebhookResponse(webhook=webhook, signing_secret=made.signing_secret)

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: object) -> pb.ListWebhooksResponse:
        page, token = await list_page(self._entities, WEBHOOK, request, pb.Webhook)
        return pb.ListWebhooksResponse(webhooks=page, next_page_token=token)

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: object
    ) -> pb.DeleteWebhookResponse:
        checks = Checks()
        check_named(checks, request, WEBHOOK)
        checks.done()
        await self._webhooks.delete(request.webhook_id, changing(request, self._clock))
        return pb.DeleteWebhookResponse()

    def _check_url(self, checks: Checks, path: str, url: str) -> None:
        """Only https to a named host, without a password in it; whether the host is public is seen at each delivery."""
        try:
            parts = urlsplit(url)
            port_is_number = parts.port is None or parts.port > 0
        except ValueError:
            port_is_number = False
        if not port_is_number or len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable():
            checks.wrong(path, f"must be an https address of at most {URL_LENGTH_MAX} characters")
            return
        trusted = parts.netloc in self._trusted_hosts
        checks.require(trusted or parts.scheme == "https", path, "must begin with https://")
        checks.require(bool(parts.hostname), path, "must name a host")
        checks.require(not parts.username and not parts.password, path, "must not have a password in it")
        checks.require(not parts.fragment, path, "must not have a fragment")


def _kinds(checks: Checks, path: str, values: Iterable[int]) -> tuple[AlertKind, ...]:
    kinds: set[AlertKind] = set()
    for index, value in enumerate(values):
        if value in list(AlertKind):
            kinds.add(AlertKind(value))
        else:
            checks.wrong(f"{path}[{index}]", "is no kind of alert")
    return tuple(sorted(kinds))
