"""Plays the scenario: starts everything, lets the applications run, acts, and looks at the books afterwards."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.books import Books, read_books
from bench.deployment import Deployment, deployment
from bench.scenario.acts import ENVIRONMENT, Operator
from bench.scenario.applications import APPLICATIONS, DEADLINE_S, Answered, Client
from bench.scenario.vendors import MODELS, NEW, Simulator, endpoints, scenario, simulator
from turnpike.router.v1 import decision_pb2
from turnpike_client import AsyncTurnpike

DOWN, DEARER, FACTOR = "birch", "cedar", 4
SETTLING_S = 3.0
"""After a change, before a phase is measured: breakers, prices and measurements follow within it. Requests of that time
count for everything but the table."""

RECOVERY_S_MAX = 60.0
REGULARS, REGULAR_ANSWERS = ("legal", "code"), 6
"""The applications, and how many answers of each in a row, by which the vendor is seen to serve as it does when it
works."""
ADOPTED_S_MAX = 60.0
ADOPTED_OF = 8
"""Of so many answers in a row more than half must be the new model's: until then it is being tried."""

IN_FORCE_S_MAX = 20.0
NEWCOMER = "code"
"""The application that gains by the new model."""
GRADES_SPREAD = 0.06
"""Answers of one model are not equally good."""

MAY_USE: Mapping[str, frozenset[str]] = {
    # By hand, from the contracts and the policies; the services' own verdict is not asked.
    "legal": frozenset({"birch/large", "birch/small", "cedar/pro"}),
    "support": frozenset(MODELS) - {NEW},
    "extraction": frozenset(MODELS) - {NEW},
    "code": frozenset({"alder/large", "birch/large", "cedar/pro", NEW}),
}
"""Whom each application may ever reach, for the check afterwards. The new model has proven nothing of its vendor's
treatment of data, so whoever asks for that does not reach it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how much."""

    seconds: float
    rate: float
    seed: int
    replicas: int = 2


@dataclass(frozen=True, slots=True)
class Phase:
    """A measured part of the run."""

    title: str
    begun_s: float
    ended_s: float


@dataclass(slots=True)
class Played:
    """What came of it."""

    phases: list[Phase] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    books: Books | None = None
    recovery_s: tuple[float, float] | None = None
    """From the moment the vendor worked again until it served somebody, and until it served as before."""
    adopted_s: float | None = None
    """From the moment the new model was known until its application mostly used it."""
    in_force_s: dict[str, float] = field(default_factory=dict)
    """By what was changed: how long until every replica of the router went by it."""
    why: dict[tuple[str, str], decision_pb2.Decision] = field(default_factory=dict)
    """A typical decision of each application in each phase."""
    problems: list[str] = field(default_factory=list)

    def of(self, application: str, phase: Phase) -> list[Answered]:
        """The requests of an application in a phase."""
        return [
            one
            for one in self.answered
            if one.application == application and phase.begun_s <= one.asked_s < phase.ended_s
        ]


async def play(options: Options, folder: Path, say: Callable[[str], None] = lambda line: None) -> Played:
    """Plays it. Raises what keeps it from being played at all; what it finds wrong is in the result's problems."""
    played = Played()
    async with contextlib.AsyncExitStack() as opened:
        vendors = await opened.enter_async_context(simulator(folder, scenario(options.seed)))
        counts = dict.fromkeys(("router", "budget", "providers"), options.replicas)
        running = await opened.enter_async_context(
            deployment(folder, endpoints(vendors.url), ENVIRONMENT, replicas=counts)
        )
        operator = Operator(running, vendors.url)
        await operator.set_up()
        say(f"running: {', '.join(f'{len(found)} x {name}' for name, found in running.addresses.items())}")
        clients = [
            await opened.enter_async_context(_client(running, operator, n, options.seed)) for n in range(4)
        ]
        await asyncio.gather(*(_usable(client) for client in clients))
        stopped = asyncio.Event()
        at_work = [
            asyncio.create_task(client.run(options.rate * client.application.share, stopped))
            for client in clients
        ]
        try:
            await _phases(played, options, clients, operator, vendors, say)
        finally:
            stopped.set()
            await asyncio.gather(*at_work)
        played.answered = [one for client in clients for one in client.answered]
        played.books = await read_books(
            running, operator.organisation_id, len(played.answered), [vendors.log]
        )
        played.problems = list(_problems(played, sum(client.grades_lost for client in clients)))
        for phase in played.phases:
            for application in APPLICATIONS:
                _explain(played, application.name, phase)
    return played


async def _phases(
    played: Played,
    options: Options,
    clients: Sequence[Client],
    operator: Operator,
    vendors: Simulator,
    say: Callable[[str], None],
) -> None:
    async def all_works() -> None:
        await _serves(clients)

    async def down() -> None:
        await vendors.play(scenario(options.seed, down=DOWN))

    async def dearer() -> None:
        await vendors.play(scenario(options.seed))
        played.recovery_s = await _serves(clients)
        say(f"{DOWN} works again")
        prices = await operator.raise_prices(DEARER, FACTOR)
        played.in_force_s["prices"] = await _in_force(operator, prices)

    async def arrives() -> None:
        prices = await operator.welcome()
        played.in_force_s["the model"] = await _in_force(operator, prices, asked_by=NEWCOMER)
        played.adopted_s = await _adopted(clients)
        say(f"{NEW} is in use")

    acts: Sequence[tuple[str, Callable[[], Awaitable[None]]]] = (
        ("before", all_works),
        (f"{DOWN} is down", down),
        (f"{DEARER} costs x{FACTOR}", dearer),
        (f"{NEW} arrives", arrives),
    )
    for title, act in acts:
        await act()
        await asyncio.sleep(SETTLING_S)
        begun_s = time.monotonic()
        await asyncio.sleep(options.seconds)
        played.phases.append(Phase(title, begun_s, time.monotonic()))
        say(f"{title}: {sum(len(client.answered) for client in clients)} requests so far")


async def _in_force(operator: Operator, prices: Mapping[str, int], asked_by: str = "extraction") -> float:
    """Seconds until every replica of the router can use these models at these input prices (nano-USD per million)."""
    begun_s = time.monotonic()

    async def known(address: str) -> None:
        async with AsyncTurnpike(address, key=operator.keys[asked_by]) as turnpike:
            while True:
                models = await turnpike.models()
                shown = {model.model: model.input_nanos_per_million for model in models if model.usable}
                if all(shown.get(model) == nanos for model, nanos in prices.items()):
                    return
                await asyncio.sleep(0.05)

    async with asyncio.timeout(IN_FORCE_S_MAX):
        await asyncio.gather(*(known(address) for address in operator.running.addresses["router"]))
    return time.monotonic() - begun_s


async def _serves(clients: Sequence[Client]) -> tuple[float, float]:
    """Seconds until the vendor of the outage serves a request from now on, and until it is regularly used."""
    begun_s = time.monotonic()
    first_s: float | None = None
    async with asyncio.timeout(RECOVERY_S_MAX):
        while True:
            await asyncio.sleep(0.1)
            since = {
                client.application.name: [
                    one.model.startswith(f"{DOWN}/")
                    for one in client.answered
                    if one.asked_s > begun_s and one.model
                ]
                for client in clients
            }
            if first_s is None and any(any(answers) for answers in since.values()):
                first_s = time.monotonic() - begun_s
            latest = [since[name][-REGULAR_ANSWERS:] for name in REGULARS]
            if first_s is not None and all(len(some) == REGULAR_ANSWERS and all(some) for some in latest):
                return first_s, time.monotonic() - begun_s


async def _adopted(clients: Sequence[Client]) -> float:
    """Seconds until the application that gains by the new model mostly uses it."""
    begun_s = time.monotonic()
    [gainer] = [client for client in clients if client.application.name == NEWCOMER]
    async with asyncio.timeout(ADOPTED_S_MAX):
        while True:
            await asyncio.sleep(0.1)
            latest = [one.model for one in gainer.answered if one.asked_s > begun_s and one.model][
                -ADOPTED_OF:
            ]
            if len(latest) == ADOPTED_OF and latest.count(NEW) > ADOPTED_OF // 2:
                return time.monotonic() - begun_s


@contextlib.asynccontextmanager
async def _client(running: Deployment, operator: Operator, number: int, seed: int) -> AsyncIterator[Client]:
    application = APPLICATIONS[number]
    key = operator.keys[application.name]

    def grade(task: str, model: str, draw: random.Random) -> float:
        return min(1.0, max(0.0, draw.gauss(MODELS[model].quality[task], GRADES_SPREAD)))

    async with AsyncTurnpike(running.target("router"), key=key, timeout_s=DEADLINE_S) as turnpike:
        metadata = (("authorization", f"Bearer {key}"),)
        yield Client(application, turnpike, grade, random.Random(seed * 10 + number), metadata)


async def _usable(client: Client) -> None:
    """Waits until every model that is there from the start can be asked for, on whichever replica."""
    async with asyncio.timeout(DEADLINE_S):
        seen = 0
        while seen < 6:
            models = await client.turnpike.models()
            seen = seen + 1 if sum(model.usable for model in models) == len(MODELS) - 1 else 0
            await asyncio.sleep(0.1)


def _explain(played: Played, application: str, phase: Phase) -> None:
    answers = [one for one in played.of(application, phase) if not one.failure]
    if not answers or played.books is None:
        return
    models = [one.model for one in answers]
    typical = max(set(models), key=models.count)
    for one in reversed(answers):
        if one.model == typical and one.attempts == 1:
            by_id = {decision.decision_id: decision for decision in played.books.decisions.values()}
            played.why[application, phase.title] = by_id[one.decision_id]
            return


def _problems(played: Played, grades_lost: int) -> Iterator[str]:
    books = played.books
    assert books is not None
    for one in played.answered:
        if one.failure:
            yield f"{one.application}: {one.failure}"
    for request_id, attempt in books.attempts():
        if attempt.model not in MAY_USE[request_id.partition("-")[0]]:
            yield f"{request_id} was sent to {attempt.model}, which its policy forbids"
    for call in books.wire:
        if call.model not in MAY_USE.get(call.request_id.partition("-")[0], ()):
            yield f"{call.request_id} was seen at {call.model}, which its policy forbids"
    yield from books.problems()
    told = sum(one.cost_nanos for one in played.answered)
    recorded = sum(decision.cost.nanos for decision in books.decisions.values())
    if not told == recorded == books.spent_nanos:
        yield f"answers cost {told} nano-USD, decisions {recorded}, the ledger {books.spent_nanos}"
    if grades_lost:
        yield f"{grades_lost} grades were not taken"
