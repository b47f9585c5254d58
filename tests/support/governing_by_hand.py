"""`turnpike policy`, `grant` and `alias` as an admin types them, against a router that runs in this process."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from services.cli.__main__ import main
from tests.support.budget_admin import OPERATOR

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[.*\n")
"""A line of the services' log: they run in this process, and write to the same standard output."""


@dataclass(frozen=True)
class Typed:
    """How a command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


async def typed(address: str, *words: str, token: str = OPERATOR, says: str | None = None) -> Typed:
    """A command, in another thread: it has an event loop of its own. `says` is typed when it asks."""
    environment = {"TURNPIKE_ADDRESS": address, "TURNPIKE_ADMIN_TOKEN": token}
    result = await asyncio.to_thread(CliRunner().invoke, main, list(words), env=environment, input=says)
    return Typed(result.exit_code, _LOGGED.sub("", result.stdout), _LOGGED.sub("", result.stderr))


async def done(address: str, *words: str, **more: Any) -> str:
    """What a command printed for people, which must end well."""
    result = await typed(address, *words, **more)
    assert result.exit_code == 0, result
    return result.stdout


async def told(address: str, *words: str, **more: Any) -> list[Any]:
    """What it told a program."""
    printed = await done(address, *words, "--json", **more)
    return [json.loads(line) for line in printed.splitlines()]
