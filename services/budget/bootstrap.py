"""The composition root of the budget service."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from services.budget.adapters.postgres.config_store import PostgresConfigStore
from services.budget.adapters.postgres.connections import Connections
from services.budget.adapters.postgres.journal import PostgresJournal
from services.budget.adapters.postgres.ledger_reader import PostgresLedgerReader
from services.budget.admin_half import open_admin_half
from services.budget.callers import BudgetCallers
from services.budget.failpoints import Failpoints
from services.budget.forwarding import Forwarder
from services.budget.servicer import BudgetServicer
from services.budget.settings import BudgetSettings
from services.budget.use_cases.owning import Identity
from services.budget.use_cases.replica import Replica
from services.budget.use_cases.tailing import Fresh, LedgerTail
from services.chassis.app import App, Runtime
from services.chassis.auth import ServiceTokens
from services.chassis.postgres import open_database
from services.chassis.server import Registration
from services.kernel.clock import SystemClock
from turnpike.budget.v1.budget_pb2_grpc import add_BudgetServiceServicer_to_server

SCHEMA = "budget"
SQL = Path(__file__).parent / "sql"


@asynccontextmanager
async def bootstrap(settings: BudgetSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
    """Opens the store, says that this replica is alive, and serves both services."""
    clock, fresh = SystemClock(), Fresh()
    async with (
        open_database(settings.postgres_dsn, schema=SCHEMA, folder=SQL) as database,
        open_admin_half(database, settings.postgres_dsn, settings, clock, runtime.stopping) as admin,
        _replica(settings, PostgresConfigStore(), fresh) as replica,
        Forwarder() as forwarder,
    ):
        runtime.health.component("postgres", database.answers, critical=True)
        servicer = BudgetServicer(
            replica,
            LedgerTail(PostgresLedgerReader(database), fresh),
            runtime,
            forwarder,
            directory=admin.directory,
            store=admin.store,
            clock=clock,
        )
        callers = BudgetCallers(ServiceTokens(settings.service_tokens), admin.directory)
        yield [
            Registration(add_BudgetServiceServicer_to_server, servicer, callers),
            admin.registration,
        ]


@asynccontextmanager
async def _replica(
    settings: BudgetSettings, configs: PostgresConfigStore, fresh: Fresh
) -> AsyncIterator[Replica]:
    connections = Connections(settings.postgres_dsn, SCHEMA)
    journal = PostgresJournal(connections, configs)
    identity = Identity(uuid.uuid4().hex, settings.address)
    replica = Replica(journal, identity, Failpoints(settings.failpoints), fresh.written)
    await replica.start()
    try:
        yield replica
    finally:
        await replica.close()
        connections.close()


app = App(name="budget", settings=BudgetSettings, bootstrap=bootstrap)
