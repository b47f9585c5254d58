"""Composes the admin half: its store, the servicer, and what follows the directory in the background."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from services.budget.adapters.postgres.admin_store import PostgresAdminStore
from services.budget.adapters.postgres.alert_store import PostgresAlertStore
from services.budget.adapters.postgres.archive import PostgresArchive
from services.budget.adapters.postgres.directory_store import CHANNEL, PostgresDirectoryStore
from services.budget.adapters.postgres.ledger_pages import PostgresLedgerPages
from services.budget.adapters.postgres.listener import listening
from services.budget.adapters.webhook_sender import WebhookSender
from services.budget.admin_servicer.calls import AdminAuthenticator
from services.budget.admin_servicer.servicer import BudgetAdminServicer
from services.budget.admin_settings import AdminSettings
from services.budget.use_cases.alerting import Alerting
from services.budget.use_cases.archiving import Archiving
from services.budget.use_cases.bootstrap import ensure_operator
from services.budget.use_cases.directory import Directory, DirectoryFeed
from services.chassis.postgres import Database
from services.chassis.server import Registration
from services.kernel.clock import Clock
from turnpike.budget.v1.budget_admin_pb2_grpc import add_BudgetAdminServiceServicer_to_server

log = structlog.get_logger()

# A failure that is there to stay fills a log slowly.
RESTART_S = 5.0


@dataclass(frozen=True, slots=True)
class AdminHalf:
    """What the composition root needs of it."""

    registration: Registration
    """BudgetAdminService."""
    directory: Directory
    """For the RPCs of BudgetService about who may call (directory_servicer.py)."""
    store: PostgresAdminStore


@asynccontextmanager
async def open_admin_half(
    database: Database, dsn: str, settings: AdminSettings, clock: Clock, stopping: asyncio.Event
) -> AsyncIterator[AdminHalf]:
    """The admin half over an open database, for the length of a block; `dsn` is for notifications;
    streams end when `stopping` is set."""
    store = PostgresAdminStore(database)
    await ensure_operator(
        store, clock, given=settings.bootstrap_admin_token, file=settings.bootstrap_token_file
    )
    directory_store = PostgresDirectoryStore(database)
    feed = DirectoryFeed(directory_store, clock)
    keys = settings.webhook_keys
    async with WebhookSender(settings.trusted_hosts) as sender:
        alerting = Alerting(PostgresAlertStore(database, keys), sender, clock)
        servicer = BudgetAdminServicer(
            store,
            PostgresLedgerPages(database),
            clock,
            stopping,
            settings.trusted_hosts,
            keys,
            Archiving(store, PostgresArchive(database), timedelta(days=settings.ledger_kept_days)),
        )
        registration = Registration(
            add_BudgetAdminServiceServicer_to_server, servicer, AdminAuthenticator(store, clock)
        )
        async with _running(
            directory=feed.run,
            notifications=lambda: listening(dsn, CHANNEL, feed.notify),
            alerts=alerting.run,
        ):
            yield AdminHalf(registration, Directory(directory_store, feed, stopping), store)


@asynccontextmanager
async def _running(**works: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs in the background for the length of a block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_kept_running(name, work)) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _kept_running(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begins a work again that failed: what nobody thought of in an alert must not take money decisions down with it.

    While the directory is not followed no heartbeat is sent, so routers ask instead of trusting what they have.
    """
    while True:
        task = asyncio.create_task(work(), name=name)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        log.error("background_work_failed", work=name, exc_info=task.exception())
        await asyncio.sleep(RESTART_S)
