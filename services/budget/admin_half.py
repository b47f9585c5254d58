"""Composes the admin half: its store, the servicer, and what follows the directory in the background."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from services.budget.adapters.postgres.admin_store import PostgresAdminStore
from services.budget.adapters.postgres.alert_store import PostgresAlertStore
from services.budget.adapters.postgres.directory_store import CHANNEL, PostgresDirectoryStore
from services.budget.adapters.postgres.ledger_pages import PostgresLedgerPages
from services.budget.adapters.postgres.listener import listening
from services.budget.adapters.webhook_sender import WebhookSender
from services.budget.admin_servicer.calls import AdminAuthenticator
from services.budget.admin_servicer.servicer import BudgetAdminServicer
from services.budget.admin_settings import AdminSettings
from services.budget.use_cases.alerting import Alerting
from services.budget.use_cases.bootstrap import ensure_operator
from services.budget.use_cases.directory import Directory, DirectoryFeed
from services.chassis.postgres import Database
from services.chassis.server import Registration
from services.kernel.clock import Clock
from turnpike.budget.v1.budget_admin_pb2_grpc import add_BudgetAdminServiceServicer_to_server


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
    async with WebhookSender(settings.trusted_hosts) as sender:
        alerting = Alerting(PostgresAlertStore(database), sender, clock)
        servicer = BudgetAdminServicer(
            store, PostgresLedgerPages(database), clock, stopping, settings.trusted_hosts
        )
        registration = Registration(
            add_BudgetAdminServiceServicer_to_server, servicer, AdminAuthenticator(store, clock)
        )
        async with _running(feed.run(), listening(dsn, CHANNEL, feed.notify), alerting.run()):
            yield AdminHalf(registration, Directory(directory_store, feed, stopping), store)


@asynccontextmanager
async def _running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs in the background for the length of a block. One that fails ends the block: better no replica than a deaf
    one."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
