"""Where alerts are sent: added, listed, removed."""

import secrets
from dataclasses import dataclass, field, replace

from services.budget.admin_ports import AdminStore, Sealer, Writes
from services.budget.domain.admin import AdminChange
from services.budget.domain.alerts import AlertKind, Webhook, secret_bound_to
from services.budget.domain.ids import WebhookId
from services.budget.domain.kinds import ORGANISATION, WEBHOOK, scope_of
from services.budget.use_cases.access import permit
from services.budget.use_cases.entities import found, found_parent, trail
from services.kernel.errors import PreconditionFailed
from services.kernel.ids import OrganisationId

SIGNING_PREFIX = "tpw_"
SIGNING_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook and, if this very call made it, what signs its deliveries."""

    webhook: Webhook
    signing_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A removal has no answer."""


class Webhooks:
    """Receivers of alerts."""

    def __init__(self, store: AdminStore, sealer: Sealer | None) -> None:
        self._store = store
        self._sealer = sealer

    async def create(
        self,
        url: str,
        kinds: tuple[AlertKind, ...],
        chain_heads: bool,
        organisation_id: OrganisationId | None,
        change: AdminChange,
    ) -> NewWebhook:
        """A new receiver, of one organisation's alerts or (operators) of all."""
        sealer = self._sealer
        if sealer is None:
            raise PreconditionFailed(
                "Webhooks cannot be added: the deployment has set no key to seal their signing secrets with."
            )
        made: list[str] = []

        async def work(writes: Writes) -> Webhook:
            webhook_id, secret = WebhookId.new(), SIGNING_PREFIX + secrets.token_urlsafe(SIGNING_BYTES)
            webhook = Webhook(
                webhook_id=webhook_id,
                organisation_id=organisation_id,
                url=url,
                kinds=kinds,
                chain_heads=chain_heads,
                sealed_secret=sealer.seal(secret, secret_bound_to(webhook_id, organisation_id)),
                created_at=change.at,
            )
            permit(change, scope_of(webhook), ORGANISATION.label, organisation_id or "")
            if organisation_id is not None:
                await found_parent(writes, change, ORGANISATION, organisation_id)
            await writes.insert(WEBHOOK, webhook)
            await trail(writes, change, WEBHOOK, None, webhook)
            made.append(secret)
            return replace(webhook, sealed_secret=None)  # the kept answer does not have it

        webhook = await self._store.once(change, Webhook, work)
        return NewWebhook(webhook, made[0] if made else "")

    async def delete(self, webhook_id: str, change: AdminChange) -> None:
        """Removes a receiver and what was still to be sent to it."""

        async def work(writes: Writes) -> Deleted:
            webhook = await found(writes, change, WEBHOOK, webhook_id)
            await writes.delete_webhook(webhook.webhook_id)
            await trail(writes, change, WEBHOOK, webhook, None)
            return Deleted()

        await self._store.once(change, Deleted, work)
