"""Whom a command calls, and with which secret: those of this machine's stack are for its own addresses alone."""

from dataclasses import dataclass, field
from pathlib import Path

import click

from services.cli.local_stack import LocalStack
from services.local import ports
from services.local.state import StateFolder, default_folder

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CALLED = {"operator": "operator token", "key": "demo key"}
SECRET_BYTES_MAX = 4096
"""A token or key is far shorter; whatever is longer is another file."""


@dataclass(frozen=True, slots=True)
class Reached:
    """An address, the secret to bring there, and this machine's stack where one of both is its own."""

    address: str
    secret: str = field(repr=False)
    local: LocalStack | None = None

    @property
    def as_operator_of(self) -> str:
        """The organisation of the local demo, for its operator; empty: somebody else calls, or elsewhere."""
        return self.local.organisation_id if self.local and self.secret == self.local.operator else ""


def reach_admin(service: str, address: str | None, token: str | None) -> Reached:
    """A service as an admin calls it, by default ours as its operator. Raises click.ClickException."""
    return _reach(service, address, token, "operator", "--token (better: TURNPIKE_ADMIN_TOKEN)")


def reach_router(address: str | None, key: str | None) -> Reached:
    """The router as an application calls it, by default ours with the demo's key. Raises click.ClickException."""
    return _reach("router", address, key, "key", "--key (better: TURNPIKE_KEY)")


def _reach(service: str, address: str | None, secret: str | None, kept: str, asked: str) -> Reached:
    if address and secret:
        return Reached(address, secret)
    local = LocalStack.of(StateFolder(default_folder()))
    if local is None:
        missing = "--address" if secret else asked if address else f"--address and {asked}"
        raise click.ClickException(
            f"no stack with a demo has run here yet: start one by `turnpike up --demo`, or give {missing}"
        )
    ours: str = getattr(local, service)
    if address and not _same(address, ours):
        raise click.UsageError(
            f"the local stack's {_CALLED[kept]} is not for {address}: say with which to call there, by {asked}"
        )
    return Reached(ours, secret or getattr(local, kept), local)


def _same(address: str, ours: str) -> bool:
    """Whether an address is the local stack's, by its number or as localhost."""
    host, _, port = address.rpartition(":")
    return host in (ports.LOOPBACK, "localhost") and port == ours.rpartition(":")[2]


def secret_in(context: click.Context, parameter: click.Parameter, file: Path | None) -> str | None:
    """What a file of one secret holds. Raises click.BadParameter."""
    if file is None:
        return None
    with file.open("rb") as opened:
        content = opened.read(SECRET_BYTES_MAX + 1)
    secret = content.decode("ascii", errors="replace").strip()
    if not secret.isprintable() or not secret.isascii() or not secret or len(content) > SECRET_BYTES_MAX:
        raise click.BadParameter(f"{file} holds no single token")
    return secret
