"""A cascade over simulated models, live: every call booked, a gain where two agree and a loss where they do not."""

import asyncio
from pathlib import Path

from click.testing import CliRunner

from services.cli.route import route
from services.providers.simulator.scenario import Answers, Pace, Scenario
from services.providers.simulator.server import RunningSimulator
from tests.support.governing import put_policy
from tests.support.road import Road, Vendor, road
from turnpike.router.v1 import router_pb2

QUESTION = "Is this invoice overdue? Answer yes or no."
POLICY = "strategy: capability\ncascade: {check: agreement, options: ['yes', 'no']}"


def saying(text: str) -> RunningSimulator:
    return RunningSimulator(Scenario(pace=Pace(), answers=Answers(text=text), require_key=False))


async def asked(on: Road, times: int, *models: str) -> list[router_pb2.Outcome]:
    routing = {"allow_models": [f"local/{name}" for name in models]}
    return [(await on.generate(QUESTION, routing=routing)).outcome for _ in range(times)]


def nanos(outcomes: list[router_pb2.Outcome]) -> float:
    return sum(outcome.cost.nanos for outcome in outcomes) / len(outcomes)


async def test_a_cascade_gains_where_two_agree_and_loses_where_they_do_not(
    postgres_dsn: str, tmp_path: Path
) -> None:
    async with saying("yes") as yes, saying("no") as no:
        places = {
            "cheap": (yes, 0.84, 1),
            "second": (yes, 0.83, 2),
            "contrary": (no, 0.83, 2),
            "strong": (yes, 0.85, 50),
        }
        models: dict[str, Vendor | str] = {
            name: Vendor(
                f"{vendor.url}/openai/v1",
                quality=quality,
                input_rate=rate * 10**8,
                output_rate=rate * 4 * 10**8,
            )
            for name, (vendor, quality, rate) in places.items()
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            await put_policy(on, POLICY)
            direct = nanos(await asked(on, 3, "strong"))
            agreed = await asked(on, 7, "cheap", "second", "strong")
            differing = await asked(on, 3, "cheap", "contrary", "strong")
            kinds = await on.settled(3 + 7 * 2 + 3 * 3)
            options = [
                "explain",
                agreed[0].decision_id,
                "--address",
                on.address,
                "--key",
                on.tenant.key_secret,
            ]
            told = await asyncio.to_thread(CliRunner().invoke, route, options, env={"COLUMNS": "200"})
    assert {outcome.model for outcome in agreed} == {"local/second"}
    assert {outcome.model for outcome in differing} == {"local/strong"}
    assert sum(kind.startswith("COMMIT") for kind in kinds) == 3 + 7 * 2 + 3 * 3
    gain, loss = 1 - nanos(agreed) / direct, nanos(differing) / direct - 1
    together = nanos([*agreed, *differing]) / direct
    print(
        f"agreed: {gain:.0%} saved; not agreed: {loss:.0%} lost; seven of ten agreed: {together:.0%} of the direct cost"
    )
    assert gain > 0.9
    assert 0 < loss < 0.1
    assert together < 0.4
    assert "cascade used" in told.output, told.output
    assert "another must agree" in told.output
    print(told.output)
