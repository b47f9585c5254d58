"""The first operator: a token that exists once, so that an empty deployment can be administered by somebody."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from services.budget.domain.entities import AdminToken, Role
from services.budget.domain.secrets import SHOWN_CHARACTERS, NewSecret, hash_of
from services.kernel.clock import Clock
from services.kernel.ids import AdminTokenId

log = structlog.get_logger()


class BootstrapStore(Protocol):
    """Where the first token is kept."""

    async def bootstrap(self, token: AdminToken, *, only_if_empty: bool, kept: Callable[[], None]) -> bool:
        """Keeps the token, once over all replicas; whether it did. `kept` runs just before it counts.

        `only_if_empty`: not if there is any admin token. Otherwise: not if there is one with this very secret.
        """
        ...


async def ensure_operator(
    store: BootstrapStore, clock: Clock, *, given: str | None, file: Path | None
) -> None:
    """Sees to it that an operator can call.

    A token that the operator gave counts from now on, also on a deployment that has others; it is never written
    anywhere. Without one, an empty deployment gets a new token, written to `file`, readable by its owner alone.
    """
    if given is not None:
        await store.bootstrap(
            _operator(NewSecret(given), clock),
            only_if_empty=False,
            kept=lambda: log.info("operator_token_given"),
        )
        return
    if file is None:
        return
    secret = NewSecret.of_admin_token()

    def show() -> None:
        _write_once(file, secret.text)
        log.info("operator_token_made", file=str(file))

    await store.bootstrap(_operator(secret, clock), only_if_empty=True, kept=show)


def _operator(secret: NewSecret, clock: Clock) -> AdminToken:
    return AdminToken(
        admin_token_id=AdminTokenId.new(),
        display_name="first operator",
        role=Role.OPERATOR,
        secret_hash=hash_of(secret.text),
        secret_prefix=secret.text[:SHOWN_CHARACTERS],
        created_at=clock.now(),
    )


def _write_once(file: Path, text: str) -> None:
    """Writes a file that only its owner can read. One that an earlier, failed start left is replaced."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
    draft.replace(file)
