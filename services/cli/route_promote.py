"""`turnpike route promote`: puts a trained prior in force on every router, or an earlier one again."""

import asyncio
import secrets
from pathlib import Path

import click

from services.chassis.channel import connect
from services.cli.prior_files import FILE, NEW_FILE, digest, judged_prior, write_whole
from services.cli.reach import reach_admin, secret_in
from services.cli.rows import read_outcomes
from services.kernel.errors import TurnpikeError
from services.router.domain.learning.outcomes import OutcomeError
from services.router.domain.learning.prior import PriorError, to_bytes
from services.router.domain.learning.promotion import FLOOR
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1.router_admin_pb2_grpc import RouterAdminServiceStub

RPC_TIMEOUT_S = 30.0
PRIOR_STARTS = b"PK"  # a prior is a zip of arrays, outcomes are lines of JSON or gzip.


@click.command()
@click.argument("file", type=FILE, required=False)
@click.option("--version", help='Instead of a FILE: one that was in force before, or "shipped".')
@click.option("--dry-run", is_flag=True, help="Only check.")
@click.option("--address", envvar="TURNPIKE_ADDRESS", help="A router.  [default: the local stack's]")
@click.option(
    "--token",
    envvar="TURNPIKE_ADMIN_TOKEN",
    help="An operator's.  [default: the local stack's, for its own address]",
)
@click.option("--token-file", type=FILE, callback=secret_in, help="A file that holds it.")
@click.option(
    "--out", type=NEW_FILE, help="With outcomes: the prior to write if it may be used; nobody is called."
)
@click.option("--floor", default=FLOOR, show_default=True, type=click.FloatRange(0, 1), help="With --out.")
@click.option("--seed", default=0, show_default=True, help="With --out.")
def promote(
    file: Path | None,
    version: str | None,
    dry_run: bool,
    address: str | None,
    token: str | None,
    token_file: str | None,
    out: Path | None,
    floor: float,
    seed: int,
) -> None:
    """Put a trained prior in force on every router, if it keeps the quality floor on later rows.

    FILE is a prior that `turnpike route train` wrote: the router asks how it did on its own later rows, and holds it
    against what was said of answers since. Or FILE is outcomes, in the order things happened, with --out: a prior is
    written if one of the earlier rows keeps the floor on the later ones, else nothing is and the command fails.
    """
    if (file is None) == (version is None):
        raise click.UsageError("give a FILE, or the --version to put in force again")
    if file is not None and not _is_prior(file):
        if out is None:
            raise click.UsageError(
                f"{file} is no prior: train one, or give --out for a prior of these outcomes"
            )
        _write_judged(file, out, floor, seed)
        return
    if out is not None:
        raise click.UsageError("--out is for outcomes; this is a prior already")
    reached = reach_admin("router", address, token_file or token)
    request = pb.PromotePriorRequest(
        request_id=f"cli-{secrets.token_hex(12)}",
        prior=file.read_bytes() if file is not None else b"",
        prior_version=version or "",
        dry_run=dry_run,
    )
    try:
        answer = asyncio.run(_promote(reached.address, reached.secret, request))
    except TurnpikeError as error:
        raise click.ClickException(f"{error.reason}  {error.message}") from error
    for finding in answer.findings:
        click.echo(finding, err=True)
    if not answer.passed:
        raise click.ClickException(f"refused; in force: {answer.prior_version}")
    done = "in force" if answer.promoted else f"{answer.checked_version} may be used; in force"
    click.echo(f"{done}: {answer.prior_version}")


async def _promote(address: str, token: str, request: pb.PromotePriorRequest) -> pb.PromotePriorResponse:
    async with connect("router", address, token=token) as router:
        stub = RouterAdminServiceStub(router.channel)
        return await router.unary(stub.PromotePrior, request, timeout_s=RPC_TIMEOUT_S)


def _is_prior(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(PRIOR_STARTS)) == PRIOR_STARTS


def _write_judged(outcomes: Path, out: Path, floor: float, seed: int) -> None:
    try:
        prior, verdict = judged_prior(
            read_outcomes(outcomes), seed=seed, version=digest(outcomes), floor=floor
        )
        for reason in verdict.reasons:
            click.echo(reason, err=True)
        if not verdict.promoted:
            raise click.ClickException(f"not promoted: the floor of {floor:.0%} is not kept on later rows")
        write_whole(out, to_bytes(prior))
    except (OutcomeError, PriorError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo(f"promoted: {out}", err=True)
