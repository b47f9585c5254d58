"""The composition root: the only module that knows every concrete class. It closes in reverse."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources as package_files
from pathlib import Path

import structlog

from services.access import AdminTokens, look_up_by
from services.chassis.app import App, Runtime
from services.chassis.auth import ServiceTokens
from services.chassis.channel import Remote, connect
from services.chassis.postgres import open_database
from services.chassis.sealing import KeyRing
from services.chassis.server import Registration
from services.kernel.clock import Clock, SystemClock
from services.kernel.model_ref import ModelRef
from services.providers.adapters.admin_store import FOLDER, SCHEMA, AdminStore, Stored
from services.providers.adapters.budget import RemoteSettlements
from services.providers.adapters.catalogue.toml_files import load, shipped
from services.providers.adapters.credentials import CredentialPool, from_environment
from services.providers.adapters.endpoints_file import WrittenEndpoints, read_endpoints
from services.providers.adapters.http.client import VendorHttp
from services.providers.adapters.http.proxy import Proxy
from services.providers.adapters.registry import format_of, vendor_named, vendors
from services.providers.admin.servicer import ProviderAdminServicer
from services.providers.deployment import Deployment
from services.providers.dispatch import Dispatcher
from services.providers.domain.catalogue import Catalogue
from services.providers.servicer import ProviderServicer
from services.providers.settings import ProvidersSettings
from services.providers.unary import UnaryCalls
from services.providers.use_cases.attempt import Resources
from services.providers.use_cases.endpoints import EndpointBook
from services.providers.use_cases.models import Models
from services.providers.use_cases.vectors import CountTokens, Embed, Small
from services.providers.use_cases.witness import Witness
from services.tokens import warm
from turnpike.providers.v1 import providers_admin_pb2_grpc, providers_pb2_grpc

log = structlog.get_logger()


@asynccontextmanager
async def bootstrap(settings: ProvidersSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
    """Opens everything, and yields what is to be served. Raises what is wrong with files before it serves."""
    clock: Clock = SystemClock()
    written = _written(settings)
    async with AsyncExitStack() as stack:
        budget = await _budget(settings, stack)
        http = await stack.enter_async_context(
            VendorHttp(certificates=_certificates(settings), proxy=_proxy(settings))
        )
        given = [*from_environment(vendors().values(), os.environ), *written.credentials]
        pool = CredentialPool(clock)
        book = EndpointBook(clock)
        catalogue = _catalogue(settings, written)
        models = Models(catalogue, book, vendor_named, vendors().values(), pool.has, clock)
        keys = KeyRing.parse(settings.encryption_key) if settings.encryption_key else None
        deployment = Deployment(
            catalogue,
            models,
            pool,
            clock,
            given_credentials=given,
            given_endpoints=written.endpoints,
            keys=keys,
        )
        deployment.put_in_force(Stored())
        witness = Witness(RemoteSettlements(budget) if budget is not None else None)
        stack.push_async_callback(witness.close)
        resources = Resources(book, http, pool, vendor_named, format_of, clock)
        small = Small(resources)
        dispatcher = Dispatcher(runtime, resources, witness, under_way_max=settings.attempts_max)
        calls = UnaryCalls(resources, witness, CountTokens(small, _tokenizer_named(models)), Embed(small))
        servicer = ProviderServicer(dispatcher.server, calls, models, book, clock, runtime.stopping)
        registrations = [
            Registration(
                providers_pb2_grpc.add_ProviderServiceServicer_to_server,
                servicer,
                ServiceTokens(settings.service_tokens),
            )
        ]
        if settings.postgres_dsn is not None and budget is not None:
            store = await _store(settings.postgres_dsn, runtime, stack)
            await deployment.load(store)
            _beside(deployment.follow(store), "follows admins' changes", stack)
            admin = ProviderAdminServicer(
                store,
                deployment,
                models,
                book,
                pool,
                keys,
                clock,
                settings.private_endpoints,
            )
            registrations.append(
                Registration(
                    providers_admin_pb2_grpc.add_ProviderAdminServiceServicer_to_server,
                    admin,
                    AdminTokens(look_up_by(budget)),
                )
            )
        else:
            log.info("admin RPCs are off: they need TURNPIKE_POSTGRES_DSN and TURNPIKE_BUDGET_ADDRESS")
        _beside(book.look_after(http.reachable), "looks after endpoints", stack)
        if any(spec.tokenizer not in ("", "bytes") for spec in book.all()):
            warm()  # a vocabulary is 34 MB, and a deployment of local models alone counts by bytes
        log.info(
            "providers know",
            models=len(models.listed()),
            endpoints=len(book.all()),
            vendors=sorted({spec.provider for spec in book.all()}),
        )
        yield registrations


app = App(name="providers", settings=ProvidersSettings, bootstrap=bootstrap)


def _written(settings: ProvidersSettings) -> WrittenEndpoints:
    if settings.endpoints_file is None:
        return WrittenEndpoints((), (), ())
    return read_endpoints(settings.endpoints_file, os.environ)


def _catalogue(settings: ProvidersSettings, written: WrittenEndpoints) -> Catalogue:
    if settings.catalogue_folder is None:
        catalogue = shipped()
    else:
        catalogue = load(package_files.files("services.providers") / "data", Path(settings.catalogue_folder))
    for model in written.models:
        catalogue = catalogue.with_override(model)
    return catalogue


def _certificates(settings: ProvidersSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.certificates_file is not None:
        context.load_verify_locations(cafile=settings.certificates_file)
    return context


def _proxy(settings: ProvidersSettings) -> Proxy | None:
    if settings.proxy is None:
        return None
    return Proxy.parse(settings.proxy, settings.proxy_exceptions)


async def _store(dsn: str, runtime: Runtime, stack: AsyncExitStack) -> AdminStore:
    database = await stack.enter_async_context(open_database(dsn, schema=SCHEMA, folder=FOLDER))
    # Not critical: without it what is known stays in force, and only changes are refused.
    runtime.health.component("postgres", database.answers, critical=False)
    return AdminStore(database)


def _beside(work: Coroutine[None, None, None], name: str, stack: AsyncExitStack) -> None:
    """Runs `work` beside the serving, until the stack closes."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(end)


async def _budget(settings: ProvidersSettings, stack: AsyncExitStack) -> Remote | None:
    if settings.budget_address is None:
        return None
    return await stack.enter_async_context(
        connect("budget", settings.budget_address, token=settings.service_token)
    )


def _tokenizer_named(models: Models) -> Callable[[str], str]:
    def tokenizer(name: str) -> str:
        try:
            known = models.get(ModelRef.parse(name))
        except ValueError:
            return ""
        return "" if known is None or known.tokenizer == "bytes" else known.tokenizer

    return tokenizer
