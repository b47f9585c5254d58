"""`turnpike ledger`: every movement of money, its proof, and its comparison with what vendors ask for."""

from pathlib import Path
from typing import IO

import click

from services.cli import ledger_archive
from services.cli.admin import WALK_TIMEOUT_S, Access, admin_command, show, show_one, stamp, time_of, when
from services.cli.budget_words import only_organisation
from services.cli.words import dollars
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import ledger_pb2

KINDS = {
    name.removeprefix("LEDGER_ENTRY_KIND_").lower(): value
    for name, value in ledger_pb2.LedgerEntryKind.items()
    if value
}
INVOICE_BYTES_MAX = 10_000_000


@click.group()
def ledger() -> None:
    """See every movement of money, and prove that none was touched."""


@ledger.command()
@click.option("--organisation", default="", help="Whose; operators must say.")
@click.option("--budget", default="", help="Only those of this budget.")
@click.option("--request", "request_id", default="", help="Only those of this request.")
@click.option("--kind", type=click.Choice(list(KINDS)), multiple=True, help="Only these kinds.")
@click.option("--since", help="Only from this time on.")
@click.option("--until", help="Only before this time.")
@click.option("--most", type=int, default=50, show_default=True)
@click.option("--oldest-first", is_flag=True)
@admin_command
async def entries(
    access: Access,
    organisation: str,
    budget: str,
    request_id: str,
    kind: tuple[str, ...],
    since: str | None,
    until: str | None,
    most: int,
    oldest_first: bool,
) -> None:
    """List ledger entries, newest first."""
    async with access.admin() as api:
        request = pb.ListLedgerEntriesRequest(
            organisation_id=organisation or await only_organisation(api),
            budget_id=budget,
            ledger_request_id=request_id,
            kinds=[KINDS[each] for each in kind],
            newest_first=not oldest_first,
        )
        if since:
            request.occurred_from.CopyFrom(stamp(time_of(since)))
        if until:
            request.occurred_until.CopyFrom(stamp(time_of(until)))
        found = await api.pages("ListLedgerEntries", request, "entries", most)
    columns = [
        (">entry", lambda e: str(e.sequence)),
        ("when", lambda e: when(e, "occurred_at")),
        (
            "kind",
            lambda e: ledger_pb2.LedgerEntryKind.Name(e.kind).removeprefix("LEDGER_ENTRY_KIND_").lower(),
        ),
        (">amount", lambda e: dollars(e.amount.nanos) if e.HasField("amount") else ""),
        ("model", lambda e: e.model),
        ("request", lambda e: f"{e.key.request_id} #{e.key.attempt}" if e.key.request_id else ""),
        ("", lambda e: "unconfirmed" if e.unconfirmed else ""),
    ]
    show(access, found, columns)


@ledger.command()
@click.option("--organisation", default="", help="Whose; operators must say.")
@click.option("--head", default="", help="An exported hash, in hex, to be met on the way.")
@admin_command
async def verify(access: Access, organisation: str, head: str) -> None:
    """Walk the chain, sum every budget up again, and say the first broken entry.

    Ends with 1 if anything is wrong.
    """
    try:
        expected = bytes.fromhex(head)
    except ValueError as error:
        raise click.BadParameter(f"{head}: is not hexadecimal") from error
    async with access.admin() as api:
        organisation = organisation or await only_organisation(api)
        request = pb.VerifyLedgerRequest(organisation_id=organisation, expected_head_hash=expected)
        finding = await api.call("VerifyLedger", request, timeout_s=WALK_TIMEOUT_S)
    fields = [
        ("chain", "intact" if finding.intact else "BROKEN"),
        ("entries", f"{finding.entries_checked:,}{_begun(finding)}"),
        ("head", f"{finding.head_sequence} {finding.head_hash.hex()}"),
    ]
    if finding.first_broken_sequence:
        fields.append(("broken at", f"{finding.first_broken_sequence}: {finding.problem}"))
    elif finding.problem:
        fields.append(("problem", finding.problem))
    fields += [("total", mismatch) for mismatch in finding.total_mismatches]
    show_one(access, finding, fields)
    if not finding.intact:
        raise SystemExit(1)


def _new(context: click.Context, parameter: click.Parameter, file: Path) -> Path:
    if file.exists():
        raise click.BadParameter(f"{file} is there already")
    return file


def _begun(finding: pb.VerifyLedgerResponse) -> str:
    after = finding.after_sequence
    return f", from {after + 1} on: those before have left behind a checkpoint" if after else ""


@ledger.command()
@admin_command
async def heads(access: Access) -> None:
    """Show the newest hash of each chain, to be kept elsewhere."""
    async with access.admin() as api:
        found = await api.pages("ListChainHeads", pb.ListChainHeadsRequest(), "heads", None)
    columns = [
        ("organisation", lambda h: h.organisation_id),
        (">entry", lambda h: str(h.sequence)),
        ("hash", lambda h: h.hash.hex()),
    ]
    show(access, found, columns)


@ledger.command()
@click.option("--organisation", default="", help="Whose; operators must say.")
@click.option("--before", required=True, help="Only entries before this time.")
@click.option(
    "--to",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_new,
    help="A new file.",
)
@click.option("--keep", is_flag=True, help="Only write the file; nothing leaves the ledger.")
@admin_command
async def archive(access: Access, organisation: str, before: str, file: Path, keep: bool) -> None:
    """Write old entries to a file that proves itself, then let them leave behind a checkpoint.

    Nothing leaves before the file is whole. Check files with `turnpike ledger check`.
    """
    async with access.admin() as api:
        organisation = organisation or await only_organisation(api)
        asked = pb.ExportLedgerRequest(organisation_id=organisation, occurred_until=stamp(time_of(before)))
        try:
            async with api.watch("ExportLedger", asked) as pages:
                chain = await ledger_archive.write(file, organisation, pages)
        except ledger_archive.Broken as broken:
            raise click.ClickException(f"{broken}; nothing has left") from broken
        done = pb.TrimLedgerResponse()
        if not keep:  # also where nothing is left to write: an earlier removal may have broken off
            trim = pb.TrimLedgerRequest(
                organisation_id=organisation, until_sequence=chain.sequence, until_hash=chain.head
            )
            done = await api.call("TrimLedger", trim, timeout_s=WALK_TIMEOUT_S)
    fields = [
        ("written", f"{chain.entries:,} entries, the last is {chain.sequence} {chain.head.hex()}"),
        ("removed", f"{done.entries_removed:,}"),
    ]
    if done.checkpoint_sequence:
        fields.append(("checkpoint", str(done.checkpoint_sequence)))
    show_one(access, done, fields)


@ledger.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def check(files: tuple[Path, ...]) -> None:
    """Check archived FILES, oldest first: the chain in and between them, and the checkpoints about them."""
    try:
        chain = ledger_archive.check(files)
    except ledger_archive.Broken as broken:
        raise click.ClickException(str(broken)) from broken
    click.echo(f"intact: {chain.entries:,} entries, the last is {chain.sequence} {chain.head.hex()}")


@ledger.command()
@click.option("--organisation", required=True)
@click.option("--since", required=True, help="From when on.")
@click.option("--until", required=True, help="Until when.")
@click.option("--match", default="", help="Only models of this pattern, such as openai/*.")
@click.option("--book", is_flag=True, help="Book the difference; without it, it is only said.")
@admin_command
async def rerate(access: Access, organisation: str, since: str, until: str, match: str, book: bool) -> None:
    """Price a period again by the price book as it is now."""
    request = pb.RerateUsageRequest(
        organisation_id=organisation,
        occurred_from=stamp(time_of(since)),
        occurred_until=stamp(time_of(until)),
        model_pattern=match,
        dry_run=not book,
    )
    async with access.admin() as api:
        done = await api.call("RerateUsage", request, timeout_s=WALK_TIMEOUT_S)
    said = "booked" if book else "would be booked"
    fields = [("charges", f"{done.entries_repriced:,}"), (said, dollars(done.difference.nanos))]
    show_one(access, done, fields)


@ledger.command()
@click.argument("invoice", type=click.File("rb"))
@click.option("--provider", required=True, help="The vendor, such as openai.")
@click.option("--organisation", default="", help="Only this organisation's charges.")
@admin_command
async def reconcile(access: Access, invoice: IO[bytes], provider: str, organisation: str) -> None:
    """Compare a vendor's INVOICE (CSV: day,model,cost_usd) with the ledger, by day and model."""
    content = invoice.read(INVOICE_BYTES_MAX + 1)
    if len(content) > INVOICE_BYTES_MAX:
        raise click.BadParameter(f"the invoice has more than {INVOICE_BYTES_MAX:,} bytes")
    request = pb.ReconcileInvoiceRequest(organisation_id=organisation, provider=provider, csv=content)
    async with access.admin() as api:
        found = await api.call("ReconcileInvoice", request, timeout_s=WALK_TIMEOUT_S)
    columns = [
        ("day", lambda line: line.day),
        ("model", lambda line: line.model),
        (">invoiced", lambda line: dollars(line.invoiced.nanos)),
        (">booked", lambda line: dollars(line.booked.nanos)),
        (">difference", lambda line: dollars(line.difference.nanos)),
    ]
    show(access, found.lines, columns)
    if not access.as_json:
        click.echo(f"In all: {dollars(found.difference.nanos)}", err=True)
