"""The vendors, played by `turnpike simulate`: where they are, how fast, and how good they really are."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.deployment import command

NEW = "elm/nova"
"""The model that arrives."""

ADDRESSES = {
    "alder": ("openai_chat", "openai/v1"),
    "birch": ("anthropic_messages", "anthropic/v1"),
    "cedar": ("gemini", "gemini/v1beta"),
    "maple": ("openai_chat", "mistral/v1"),
    "elm": ("openai_chat", "openai/v1"),
}
"""The wire format of each vendor, and its path at the simulator."""


@dataclass(frozen=True, slots=True)
class Truth:
    """How a model really is, which nobody is told: the services measure it, the applications grade it."""

    first_token_ms: float
    tokens_per_s: float
    quality: Mapping[str, float]
    """By task."""


def _truth(first_token_ms: float, tokens_per_s: float, *quality: float) -> Truth:
    tasks = ("summarise", "chat", "extract", "code")
    return Truth(first_token_ms, tokens_per_s, dict(zip(tasks, quality, strict=True)))


MODELS = {
    "alder/large": _truth(260, 140, 0.85, 0.86, 0.88, 0.89),
    "alder/small": _truth(110, 260, 0.66, 0.75, 0.81, 0.62),
    "birch/large": _truth(300, 120, 0.96, 0.88, 0.89, 0.93),
    "birch/small": _truth(140, 220, 0.80, 0.80, 0.83, 0.76),
    "cedar/pro": _truth(280, 150, 0.86, 0.84, 0.88, 0.84),
    "cedar/flash": _truth(80, 300, 0.64, 0.73, 0.82, 0.58),
    "maple/medium": _truth(180, 180, 0.78, 0.77, 0.79, 0.72),
    NEW: _truth(130, 250, 0.90, 0.86, 0.90, 0.93),
}


def base_url(simulator: str, vendor: str) -> str:
    """Where a vendor is called; its own instance of the simulator, which tells vendors apart by that."""
    return f"{simulator}/{vendor}/{ADDRESSES[vendor][1]}"


def endpoints(simulator: str) -> list[dict[str, Any]]:
    """The endpoints of everybody who is there from the start."""
    return [
        {
            "model": model,
            "vendor_model": model.partition("/")[2],
            "base_url": base_url(simulator, model.partition("/")[0]),
            "wire_format": ADDRESSES[model.partition("/")[0]][0],
        }
        for model in MODELS
        if model != NEW
    ]


def scenario(seed: int, down: str = "") -> dict[str, Any]:
    """What the simulator plays: every model at its pace, and one vendor perhaps down."""
    outage: Sequence[dict[str, Any]] = ()
    if down:  # as outages are: most connections are refused, some are taken and never answered
        outage = (
            {"instances": [down], "fault": "stall", "probability": 0.3},
            {"instances": [down], "fault": "refuse"},
        )
    paces = [
        {
            "instances": [model.partition("/")[0]],
            "models": [model.partition("/")[2]],
            "pace": {
                "first_token_ms": truth.first_token_ms,
                "tokens_per_s": truth.tokens_per_s,
                "jitter": 0.2,
            },
        }
        for model, truth in MODELS.items()
    ]
    return {
        "seed": seed,
        "require_key": False,
        "answers": {"output_tokens_min": 60, "output_tokens_max": 120},
        "rules": [*outage, *paces],
    }


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running one."""

    url: str
    log: Path

    async def play(self, scenario: Mapping[str, Any]) -> None:
        """Plays another scenario from now on."""
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.url}/control/scenario", data=json.dumps(scenario)) as answer,
        ):
            if answer.status != 200:
                raise RuntimeError(await answer.text())


@asynccontextmanager
async def simulator(
    folder: Path, scenario: Mapping[str, Any], name: str = "simulator"
) -> AsyncIterator[Simulator]:
    """`turnpike simulate` as a process of its own, for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    file, log = folder / f"{name}.json", folder / f"{name}.jsonl"
    file.write_text(json.dumps(scenario))
    arguments = ("simulate", "--port", "0", "--scenario", str(file), "--log", str(log))
    async with contextlib.AsyncExitStack() as opened:
        _, printed = await opened.enter_async_context(command("-m", "services.cli", *arguments))
        line = (await asyncio.wait_for(printed.readline(), 60)).decode()
        yield Simulator(line.split()[-1], log)
