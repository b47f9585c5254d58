"""`turnpike ask` as a program: what goes where, and how it ends."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scripted_router import KEY, scripted_router


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with scripted_router() as (address, _):
        yield address


async def ask(address: str, *arguments: str, stdin: str = "", key: str = KEY) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli",
        "ask",
        *arguments,
        env={**os.environ, "TURNPIKE_ADDRESS": address, "TURNPIKE_KEY": key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_answer_alone_goes_to_standard_output(address: str) -> None:
    status, out, err = await ask(address, "hello", "there")
    assert (status, out) == (0, "hello there \n")
    lines = {line.split("  ")[0].strip(): line for line in err.splitlines() if line.strip()}
    assert "local/b" in lines["model"]
    assert "12 in, 34 out" in lines["tokens"]
    assert "$0.000012345" in lines["cost"]
    assert "$0.999987655 of $1.00 left" in lines["budgets"]
    assert "it stood in for local/a, which failed" in lines["why"]
    assert "not local/a: it does not answer" in err
    assert "1. local/a  VENDOR_UNREACHABLE: connection refused  ($0.00)" in err
    assert "0af7651916cd43dd8448eb211c80319c" in lines["trace"]
    assert "\x1b" not in out + err  # no terminal, no escape sequences


async def test_the_question_may_come_from_standard_input(address: str) -> None:
    status, out, _ = await ask(address, "-", stdin="from a pipe")
    assert (status, out) == (0, "from a pipe \n")
    status, _, err = await ask(address)
    assert status == 2
    assert "nothing is asked" in err


async def test_json_is_one_object(address: str) -> None:
    status, out, err = await ask(address, "--json", "hello")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["text"] == "hello"
    assert told["outcome"]["cost"]["nanos"] == "12345"


async def test_a_refusal_shows_its_figures_and_fails(address: str) -> None:
    status, out, err = await ask(address, "!budget")
    assert (status, out) == (1, "")
    assert err.startswith("BUDGET_EXHAUSTED")
    assert "Demo: $0.02 asked, $0.01 of $1.00 left" in err
    status, out, err = await ask(address, "break")
    assert (status, out) == (1, "break \n")
    assert "1. local/a: connection refused" in err


async def test_without_a_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNPIKE_STATE_DIR", str(tmp_path / "state"))
    status, _, err = await ask("", "hello", key="")
    assert status == 1
    assert "turnpike up --demo" in err
