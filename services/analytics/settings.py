"""Settings of the analytics service."""

from dataclasses import dataclass

from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Address, Secret, address, dsn, env, integer, text


@dataclass(frozen=True, kw_only=True)
class AnalyticsSettings(ServiceSettings):
    """What the analytics service needs beside what every service has."""

    listen: Address = env(
        "TURNPIKE_LISTEN",
        address,
        "Where the gRPC server listens; port 0 takes a free one.",
        default=Address("127.0.0.1", 50054),
    )
    postgres_dsn: Secret = env(
        "TURNPIKE_POSTGRES_DSN", dsn("postgresql"), "Postgres for usage entries and decision records."
    )
    budget_address: str = env(
        "TURNPIKE_BUDGET_ADDRESS",
        text,
        "The budget service, whose ledger is read and who knows admin tokens.",
    )
    decisions_kept_days: int = env(
        "TURNPIKE_DECISIONS_KEPT_DAYS",
        integer(min=1, max=3_660),
        "Decision records, and what they were made from, are kept so long.",
        default=90,
    )
