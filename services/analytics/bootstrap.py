"""The composition root of the analytics service."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.access import AdminTokens, look_up_by
from services.analytics.adapters.budget import RemoteLedger
from services.analytics.adapters.postgres import PostgresDecisions, PostgresUsage
from services.analytics.adapters.postgres_entries import PostgresEntries
from services.analytics.adapters.postgres_reports import PostgresReports
from services.analytics.adapters.prices import RemotePriceBook
from services.analytics.servicer import AnalyticsServicer, UseCases
from services.analytics.settings import AnalyticsSettings
from services.analytics.use_cases.decisions import Decisions
from services.analytics.use_cases.export import ExportUsage
from services.analytics.use_cases.forecast import ForecastSpend
from services.analytics.use_cases.forget import Forget
from services.analytics.use_cases.savings import QuerySavings
from services.analytics.use_cases.tail import FollowLedger
from services.analytics.use_cases.usage import QueryUsage
from services.analytics.use_cases.waste import QueryWaste
from services.analytics.use_cases.watch import UsageFeed, WatchUsage
from services.chassis import tasks
from services.chassis.app import App, Runtime
from services.chassis.auth import Authenticator, ServiceTokens
from services.chassis.call import Call, Caller
from services.chassis.channel import connect
from services.chassis.health import Check
from services.chassis.postgres import open_database
from services.chassis.server import Registration
from services.kernel.clock import SystemClock
from turnpike.analytics.v1.analytics_pb2_grpc import add_AnalyticsServiceServicer_to_server

SQL = Path(__file__).parent / "sql"
ROUTERS_METHODS = ("RecordDecisions", "GetRecord")
ROUTERS = frozenset({"router"})
"""Records are whole, of any organisation: no other service has a use for them."""


@asynccontextmanager
async def bootstrap(settings: AnalyticsSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
    """Opens the store, follows the ledger, serves routers and admins."""
    token = settings.service_token
    async with (
        open_database(settings.postgres_dsn, schema="analytics", folder=SQL) as database,
        connect("budget", settings.budget_address, token=token) as budget,
    ):
        usage, entries = PostgresUsage(database), PostgresEntries(database)
        reports, clock, feed = PostgresReports(database), SystemClock(), UsageFeed()
        following = FollowLedger(RemoteLedger(budget), usage, feed)
        runtime.health.component("postgres", database.answers, critical=True)
        runtime.health.component("ledger", _heard_of(following), critical=False)
        do = UseCases(
            decisions=Decisions(PostgresDecisions(database)),
            query_usage=QueryUsage(usage),
            watch_usage=WatchUsage(usage, entries, feed, lambda: following.followed, clock, runtime.stopping),
            forecast_spend=ForecastSpend(usage, clock),
            query_savings=QuerySavings(reports, RemotePriceBook(budget)),
            query_waste=QueryWaste(reports),
            export_usage=ExportUsage(entries),
        )
        admins = AdminTokens(look_up_by(budget))
        servicer = AnalyticsServicer(do, usage, following, admins, clock)
        authenticate = routers_record_admins_ask(ServiceTokens(settings.service_tokens, only=ROUTERS), admins)
        forgetting = Forget(PostgresDecisions(database), clock, timedelta(days=settings.decisions_kept_days))
        async with (
            _running(following.run(), "following") as tail,
            _running(forgetting.run(), "forgetting") as broom,
        ):

            async def background_runs() -> bool:
                return forgetting.works and not (tail.done() or broom.done())

            runtime.health.component("background", background_runs, critical=False)
            yield [Registration(add_AnalyticsServiceServicer_to_server, servicer, authenticate)]


def routers_record_admins_ask(routers: Authenticator, admins: Authenticator) -> Authenticator:
    """Records come from routers, and go back to them; everything else is asked by admins."""

    async def authenticate(call: Call) -> Caller:
        return await (routers if call.method.rpartition("/")[2] in ROUTERS_METHODS else admins)(call)

    return authenticate


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> "AsyncIterator[asyncio.Task[None]]":
    task = tasks.start(work, name)
    try:
        yield task
    finally:
        await tasks.end(task)


def _heard_of(following: FollowLedger) -> Check:
    async def heard_of() -> bool:
        return following.followed

    return heard_of


app = App(name="analytics", settings=AnalyticsSettings, bootstrap=bootstrap)
