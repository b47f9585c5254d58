"""Settings of the admin half of the budget service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.budget.domain.secrets import ADMIN_TOKEN_PREFIX, TEXT_LENGTH_MAX, TEXT_LENGTH_MIN
from services.chassis.sealing import KeyRing
from services.chassis.settings import Problem, Secret, env, integer, path, secret, text


@dataclass(frozen=True, kw_only=True)
class AdminSettings:
    """A part of the service's settings, inherited by them."""

    bootstrap_admin_token: Secret | None = env(
        "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN",
        secret,
        "An operator's token (tpa_…) that counts from the start; only its hash is kept.",
        default=None,
    )
    bootstrap_token_file: Path | None = env(
        "TURNPIKE_BOOTSTRAP_TOKEN_FILE",
        path,
        "Where an empty deployment writes the operator token that it makes, for its owner's eyes alone.",
        default=None,
    )

    webhook_trusted_hosts: str = env(
        "TURNPIKE_WEBHOOK_TRUSTED_HOSTS",
        text,
        "host:port of receivers of alerts inside of our network, with commas between; all others must be public.",
        default="",
    )

    webhook_key: Secret | None = env(
        "TURNPIKE_WEBHOOK_KEY",
        secret,
        "Key that seals webhooks' signing secrets: 32 bytes as base64; several with commas, the first seals."
        " Not set: no webhook can be added.",
        default=None,
    )

    ledger_kept_days: int = env(
        "TURNPIKE_LEDGER_KEPT_DAYS",
        integer(min=1, max=36_500),
        "How old ledger entries must be to leave; a repeated request id is known for as long.",
        default=30,
    )

    @property
    def trusted_hosts(self) -> frozenset[str]:
        """Hosts that alerts may be sent to although they are not public."""
        return frozenset(host.strip() for host in self.webhook_trusted_hosts.split(",") if host.strip())

    @property
    def webhook_keys(self) -> KeyRing | None:
        """What seals webhooks' secrets. Raises ValueError."""
        return KeyRing.parse(self.webhook_key) if self.webhook_key else None

    def admin_problems(self) -> Iterator[Problem]:
        """What is wrong with these."""
        try:
            _ = self.webhook_keys
        except ValueError as error:
            yield Problem("TURNPIKE_WEBHOOK_KEY", str(error))
        token = self.bootstrap_admin_token
        if token is not None and not (
            token.startswith(ADMIN_TOKEN_PREFIX) and TEXT_LENGTH_MIN <= len(token) <= TEXT_LENGTH_MAX
        ):
            yield Problem(
                "TURNPIKE_BOOTSTRAP_ADMIN_TOKEN",
                f"must begin with {ADMIN_TOKEN_PREFIX} and have {TEXT_LENGTH_MIN} to {TEXT_LENGTH_MAX} characters",
            )
