"""Settings of the budget service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.budget.admin_settings import AdminSettings
from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Address, Problem, Secret, address, dsn, env, path


@dataclass(frozen=True, kw_only=True)
class BudgetSettings(AdminSettings, ServiceSettings):
    """What the budget service needs beside what every service has."""

    listen: Address = env(
        "TURNPIKE_LISTEN",
        address,
        "Where the gRPC server listens; port 0 takes a free one.",
        default=Address("127.0.0.1", 50052),
    )
    advertise: Address | None = env(
        "TURNPIKE_BUDGET_ADVERTISE",
        address,
        "Where other replicas and routers reach this one; absent: as it listens, unless that is port 0.",
        default=None,
    )
    postgres_dsn: Secret = env("TURNPIKE_POSTGRES_DSN", dsn("postgresql"), "Postgres, where the ledger lies.")
    failpoints: Path | None = env(
        "TURNPIKE_BUDGET_FAILPOINTS",
        path,
        "For tests that kill this process at exact places: the folder in which those are armed.",
        default=None,
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong with them together."""
        yield from super().problems()
        yield from self.admin_problems()

    @property
    def address(self) -> str:
        """Where others reach this replica; empty: nobody can say yet."""
        where = self.advertise or self.listen
        return str(where) if where.port else ""
