"""The local model over HTTP: a real answer, its usage, its pace, its key, and what a leaving client does."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from services.local.child import ChildSpec, running
from services.local.weights import KEY_VARIABLE
from tests.support.stack_process import until

PACE = 20.0
pytestmark = pytest.mark.timeout(120)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    ready = folder / "ready"
    spec = ChildSpec(
        "model",
        (sys.executable, "-m", "services.local.model_server", "--name", "small", "--port", "0", *arguments),
        {**os.environ, KEY_VARIABLE: "secret", "TURNPIKE_READY_FILE": str(ready)},
        folder,
        folder / "log",
    )
    with running(spec):
        until(ready.exists, "the model")
        yield ready.read_text().strip()


@pytest.fixture(scope="module")
def express(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("express")) as address:
        yield address


@pytest.fixture(scope="module")
def economy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("economy"), "--tokens-per-second", str(PACE)) as address:
        yield address


def body(stream: bool, tokens: int = 24) -> dict[str, object]:
    return {
        "model": "small",
        "messages": [{"role": "user", "content": "Tell me a story about a road."}],
        "max_tokens": tokens,
        "stream": stream,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("name", ["express", "economy"])
async def test_it_answers_with_usage_also_as_a_stream(name: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue(name)
    async with aiohttp.ClientSession(address, headers={"Authorization": "Bearer secret"}) as session:
        async with session.post("/v1/chat/completions", json=body(stream=False)) as answer:
            whole = await answer.json()
        assert whole["choices"][0]["message"]["content"]
        assert whole["usage"]["completion_tokens"] == 24
        text = ""
        usage: dict[str, int] = {}
        async with session.post("/v1/chat/completions", json=body(stream=True)) as answer:
            assert answer.content_type == "text/event-stream"
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    usage = event.get("usage") or usage
                    for choice in event["choices"]:
                        text += choice["delta"].get("content") or ""
        assert text
        assert usage["completion_tokens"] == 24
        async with session.get("/v1/models") as answer:
            assert (await answer.json())["data"][0]["id"] == "small"


@pytest.mark.parametrize("name", ["express", "economy"])
async def test_it_wants_its_key(name: str, request: pytest.FixtureRequest) -> None:
    async with (
        aiohttp.ClientSession(request.getfixturevalue(name)) as session,
        session.post("/v1/chat/completions", json=body(stream=False)) as answer,
    ):
        assert answer.status == 401


async def test_the_paced_one_is_no_faster_than_its_pace(economy: str) -> None:
    async with aiohttp.ClientSession(economy, headers={"Authorization": "Bearer secret"}) as session:
        for stream in (True, False):
            began = time.monotonic()
            async with session.post("/v1/chat/completions", json=body(stream)) as answer:
                await answer.read()
            assert time.monotonic() - began >= 23 / PACE


async def test_a_client_that_leaves_ends_the_generation(economy: str) -> None:
    """The model has few slots: if the abandoned answers went on, the last question would wait for them."""
    async with aiohttp.ClientSession(economy, headers={"Authorization": "Bearer secret"}) as session:
        for _ in range(8):
            async with session.post("/v1/chat/completions", json=body(stream=True, tokens=4000)) as answer:
                await answer.content.readline()
        began = time.monotonic()
        async with session.post("/v1/chat/completions", json=body(stream=False, tokens=1)) as answer:
            assert answer.status == 200
        assert time.monotonic() - began < 10
