"""Composes the router: the only module that knows every concrete class. Closes in reverse order."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from services.access import AdminTokens, look_up_by
from services.chassis import tasks
from services.chassis.app import App, Runtime
from services.chassis.channel import connect
from services.chassis.postgres import open_database
from services.chassis.redis import open_redis
from services.chassis.server import Registration
from services.kernel.clock import SystemClock
from services.router.adapters.budget import open_holds
from services.router.adapters.catalogue import CatalogueWatch, HealthWatch
from services.router.adapters.decisions import Decisions
from services.router.adapters.directory import DirectoryWatch, KeyAuthenticator
from services.router.adapters.learned import expectations_of, open_classifier, open_prior
from services.router.adapters.lessons import PostgresLessons, keep_learning
from services.router.adapters.past import RemotePast
from services.router.adapters.policies import BookWatch, PostgresPolicies
from services.router.adapters.priors import PriorWatch
from services.router.adapters.providers import open_models
from services.router.adapters.requests import PostgresOutcomes
from services.router.adapters.shared_conditions import AloneConditions, RedisConditions
from services.router.adapters.vectors import RemoteVectorModels
from services.router.admin_servicer import RouterAdminServicer
from services.router.domain.catalogue import Catalogue
from services.router.domain.learned import EstimatorBook
from services.router.domain.policy import Policy
from services.router.domain.world import World
from services.router.servicer import RouterServicer
from services.router.settings import RouterSettings
from services.router.use_cases.administer import Administer, book_of
from services.router.use_cases.application import Application
from services.router.use_cases.asking import Tools
from services.router.use_cases.cached import Answers
from services.router.use_cases.feedback import Learn
from services.router.use_cases.leases import Leases
from services.router.use_cases.mirroring import Mirrors
from services.router.use_cases.observe import Observer, SharedConditions
from services.router.use_cases.promote import Promote
from services.router.use_cases.repeats import Repeats
from services.router.use_cases.replays import Replays
from services.router.use_cases.resimulate import Resimulate
from services.router.use_cases.route import Router
from services.router.use_cases.settle import Settlements
from turnpike.router.v1.router_admin_pb2_grpc import add_RouterAdminServiceServicer_to_server
from turnpike.router.v1.router_pb2_grpc import add_RouterServiceServicer_to_server

SQL = Path(__file__).parent / "sql"

DECISIONS_SENT_WITHIN_S = 5.0
"""How long stopping waits for analytics to take the last records."""


@asynccontextmanager
async def bootstrap(settings: RouterSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
    """Opens the router's connections and yields what it serves."""
    clock = SystemClock()
    token = settings.service_token
    async with AsyncExitStack() as stack:
        budget = await stack.enter_async_context(connect("budget", settings.budget_address, token=token))
        providers = await stack.enter_async_context(
            connect("providers", settings.providers_address, token=token)
        )
        analytics = None
        if settings.analytics_address is not None:
            analytics = await stack.enter_async_context(
                connect("analytics", settings.analytics_address, token=token)
            )
        database = await stack.enter_async_context(
            open_database(settings.postgres_dsn, schema="router", folder=SQL)
        )
        holds, holds_stream = await stack.enter_async_context(open_holds(budget))
        models, models_stream = await stack.enter_async_context(open_models(providers))

        world = World()
        running: list[asyncio.Task[None]] = []
        decisions = Decisions(analytics, kept=settings.decisions_kept)
        _in_background(stack, running, decisions=decisions.run())
        stack.push_async_callback(decisions.drained, DECISIONS_SENT_WITHIN_S)
        settlements = Settlements(holds)
        stack.push_async_callback(settlements.close)
        shared: SharedConditions = AloneConditions()
        if settings.redis_url is not None:
            shared = RedisConditions(await stack.enter_async_context(open_redis(settings.redis_url)))
        observer = Observer(clock, world.take_conditions, shared)
        leases = Leases(holds, clock)

        def take_catalogue(catalogue: Catalogue) -> None:
            world.take_catalogue(catalogue)
            observer.forget_all_but(
                endpoint.endpoint_id for model in catalogue.models.values() for endpoint in model.endpoints
            )

        policies = PostgresPolicies(database)
        documents: dict[tuple[str, int], Policy] = {}
        book = BookWatch(policies, lambda stored: world.take_policies(book_of(stored, documents)))
        await book.refresh()
        directory = DirectoryWatch(budget, world.directory, clock)
        catalogue = CatalogueWatch(providers, take_catalogue)
        health = HealthWatch(providers, observer.take_health)
        _in_background(
            stack,
            running,
            directory=directory.run(),
            catalogue=catalogue.run(),
            health=health.run(),
            policies=book.run(),
            statistics=observer.run(),
            leases=leases.run(),
        )

        estimators = EstimatorBook(open_prior())
        lessons = PostgresLessons(database)
        learn = Learn(lessons, decisions, estimators)
        priors = PriorWatch(policies, learn.restart)
        await priors.refresh()
        _in_background(stack, running, feedback=keep_learning(learn), priors=priors.run())
        router = Router(world, estimators, clock)
        tools = Tools(
            router,
            holds,
            models,
            settlements,
            leases,
            decisions,
            observer,
            clock,
            RemoteVectorModels(providers),
            Mirrors(world.directory),
        )
        outcomes = PostgresOutcomes(database, settings.answers_key)
        _in_background(stack, running, outcomes=outcomes.run())
        repeats = Repeats(outcomes, holds, clock)
        application = Application(
            world, tools, repeats, Answers(clock), open_classifier(), deadline_s=settings.deadline_s
        )

        replays = stack.enter_context(Replays(decisions))

        async def budget_answers() -> bool:
            return holds_stream.connected and directory.fresh

        async def providers_answer() -> bool:
            return models_stream.connected and catalogue.ready.is_set()

        async def background_runs() -> bool:
            return not any(map(tasks.has_failed, running))

        runtime.health.component("postgres", database.answers, critical=False)
        # Not critical: requests go on, and where an answer depends on a work, those below ask for its freshness.
        runtime.health.component("background", background_runs, critical=False)
        runtime.health.component("budget", budget_answers, critical=True)
        runtime.health.component("providers", providers_answer, critical=True)
        keys = KeyAuthenticator(world.directory, clock, fresh=lambda: directory.fresh, ask=directory.ask)
        admins = AdminTokens(look_up_by(budget))
        administer = Administer(policies, world, book.refresh)
        promote = Promote(policies, lessons, world, clock, expectations_of, priors.refresh)
        yield [
            Registration(
                add_RouterServiceServicer_to_server, RouterServicer(application, learn, replays), keys
            ),
            Registration(
                add_RouterAdminServiceServicer_to_server,
                RouterAdminServicer(
                    administer, promote, Resimulate(router), RemotePast(analytics).pages, clock
                ),
                admins,
            ),
        ]


def _in_background(
    stack: AsyncExitStack, running: "list[asyncio.Task[None]]", **work: Coroutine[Any, Any, None]
) -> None:
    """Runs until the stack closes; what was started is added to `running`."""
    started = [tasks.start(coroutine, name) for name, coroutine in work.items()]
    running.extend(started)
    stack.push_async_callback(tasks.end, *started)


app = App(name="router", settings=RouterSettings, bootstrap=bootstrap)
