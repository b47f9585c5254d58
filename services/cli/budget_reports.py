"""Commands of `turnpike budget` for prices, alerts and the audit trail."""

from pathlib import Path
from typing import Any

import click

from services.cli.admin import Access, admin_command, limit_of, show, show_one, stamp, time_of, when
from services.cli.words import dollars
from services.local.prices import PRICES_PER_IMPORT
from services.providers.adapters.catalogue.toml_files import load, shipped
from services.providers.convert_catalogue import to_pb_price
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.common.v1 import error_pb2
from turnpike.common.v1.price_pb2 import ModelPrice, PriceTier


@click.command()
@click.option("--organisation", default="", help="As this organisation pays.")
@click.option("--match", default="", help="Only models of this pattern, such as openai/*.")
@admin_command
async def prices(access: Access, organisation: str, match: str) -> None:
    """List the prices in force, per million tokens."""
    async with access.admin() as api:
        request = pb.ListPricesRequest(organisation_id=organisation, model_pattern=match)
        entries = await api.pages("ListPrices", request, "prices", None)

    def rate(name: str) -> Any:
        def of(entry: Any) -> str:
            tier = entry.price.tiers[0]
            return dollars(getattr(tier, name)) if tier.HasField(name) else ""

        return of

    columns = [
        ("model", lambda e: e.price.model),
        (">input", rate("input_nanos_per_million")),
        (">output", rate("output_nanos_per_million")),
        (">cached", rate("cache_read_nanos_per_million")),
        (">tiers", lambda e: str(len(e.price.tiers))),
        ("since", lambda e: when(e.price, "effective_from")),
        ("for", lambda e: e.organisation_id or "all"),
    ]
    show(access, entries, columns)


@click.command()
@click.option("--catalogue", type=click.Path(path_type=Path), help="Folder with catalogue files of your own.")
@admin_command
async def import_prices(access: Access, catalogue: Path | None) -> None:
    """Put the catalogue's list prices in force, where no price is in force yet.

    A new deployment refuses every model until its price is known: run this once, and again after an update.
    """
    models = shipped() if catalogue is None else load(catalogue)
    listed = [to_pb_price(price) for model in models.models() for price in model.prices]
    added = 0
    async with access.admin() as api:
        for first in range(0, len(listed), PRICES_PER_IMPORT):
            request = pb.ImportPricesRequest(prices=listed[first : first + PRICES_PER_IMPORT])
            added += (await api.call("ImportPrices", request)).added
    click.echo(f"{added} prices came into force, {len(listed) - added} were there already.")


@click.command()
@click.argument("model")
@click.option("--input", "input_", required=True, help="Dollars per million input tokens.")
@click.option("--output", required=True, help="Dollars per million output tokens.")
@click.option("--cached", help="Dollars per million input tokens read from the cache.  [default: as input]")
@click.option("--organisation", default="", help="Only for this organisation.")
@click.option("--since", help="From when on; a past time changes nothing that was charged.  [default: now]")
@admin_command
async def set_price(
    access: Access,
    model: str,
    input_: str,
    output: str,
    cached: str | None,
    organisation: str,
    since: str | None,
) -> None:
    """Put a price in force."""
    money = error_pb2.BUDGET_UNIT_MONEY
    tier = PriceTier(
        input_nanos_per_million=limit_of(input_, money), output_nanos_per_million=limit_of(output, money)
    )
    if cached is not None:
        tier.cache_read_nanos_per_million = limit_of(cached, money)
    price = ModelPrice(model=model, tiers=[tier], source="set by hand")
    if since:
        price.effective_from.CopyFrom(stamp(time_of(since)))
    async with access.admin() as api:
        entry = (
            await api.call("SetPrice", pb.SetPriceRequest(price=price, organisation_id=organisation))
        ).price
    show_one(access, entry, [("model", entry.price.model), ("revision", str(entry.revision))])


@click.command()
@click.option("--organisation", default="")
@click.option("--most", type=int, default=50, show_default=True)
@admin_command
async def alerts(access: Access, organisation: str, most: int) -> None:
    """List alerts, newest first."""
    async with access.admin() as api:
        found = await api.pages(
            "ListAlerts", pb.ListAlertsRequest(organisation_id=organisation), "alerts", most
        )
    columns = [
        ("when", lambda a: when(a, "occurred_at")),
        ("about", lambda a: pb.AlertKind.Name(a.kind).removeprefix("ALERT_KIND_").lower().replace("_", " ")),
        ("what", lambda a: a.message),
        ("delivered", lambda a: when(a, "delivered_at")),
    ]
    show(access, found, columns)


@click.command()
@click.option("--organisation", default="")
@click.option("--entity", default="", help="Only what was done to this id.")
@click.option("--most", type=int, default=50, show_default=True)
@admin_command
async def audit(access: Access, organisation: str, entity: str, most: int) -> None:
    """List what admins changed, newest first."""
    async with access.admin() as api:
        request = pb.ListAuditRecordsRequest(organisation_id=organisation, entity_id=entity)
        records = await api.pages("ListAuditRecords", request, "audit_records", most)
    columns = [
        ("when", lambda r: when(r, "occurred_at")),
        ("who", lambda r: r.admin_token_id),
        ("what", lambda r: r.method),
        ("on", lambda r: r.entity_id),
    ]
    show(access, records, columns)


@click.command()
@click.argument("url")
@click.option("--organisation", default="", help="Only this organisation's alerts.")
@click.option("--chain-heads", is_flag=True, help="Also the ledgers' newest hashes, once an hour.")
@admin_command
async def add_webhook(access: Access, url: str, organisation: str, chain_heads: bool) -> None:
    """Send alerts to URL; shows the secret that signs them."""
    webhook = pb.Webhook(url=url, organisation_id=organisation, chain_heads=chain_heads)
    async with access.admin() as api:
        made = await api.call("CreateWebhook", pb.CreateWebhookRequest(webhook=webhook))
    if access.as_json:
        show_one(access, made, [])
        return
    click.echo(f"{made.webhook.webhook_id} is made. What signs its deliveries is shown this once:", err=True)
    click.echo(made.signing_secret)


REPORT_COMMANDS = (prices, import_prices, set_price, alerts, audit, add_webhook)
