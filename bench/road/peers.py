"""Other gateways beside ours: installed apart, started as their own documentation says, without a database or a budget.

They live in the folder of TURNPIKE_BENCH_CACHE (~/.cache/turnpike-bench), never in the project. A peer that cannot be
had is left out, and the report says why.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from services.local.ports import any_free

INSTALL_TIMEOUT_S = 600
START_TIMEOUT_S = 90  # LiteLLM takes some twenty seconds on two slow cores
_BODY = {"model": "bench", "messages": [{"role": "user", "content": "Say hello to the whole town."}]}


class PeerMissing(Exception):
    """The peer cannot be had on this machine; the text says why."""


class PeerFailed(Exception):
    """The peer answered a request of the benchmark wrongly; the text has its answer."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway that listens."""

    name: str
    pid: int
    url: str
    headers: dict[str, str]

    async def ask(self, session: aiohttp.ClientSession, *, stream: bool) -> None:
        """One request, its whole answer read; raises if it is not answered well."""
        body = _BODY | {"stream": True, "stream_options": {"include_usage": True}} if stream else _BODY
        async with session.post(self.url, json=body, headers=self.headers) as response:
            answer = await response.read()
            if response.status != 200 or (stream and b"[DONE]" not in answer):
                raise PeerFailed(f"{self.name} answered {response.status}: {answer[:300]!r}")


def _cache() -> Path:
    folder = Path(os.environ.get("TURNPIKE_BENCH_CACHE", Path.home() / ".cache" / "turnpike-bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(what: str, command: list[str], cwd: Path) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"{what} could not be installed: {error}") from error


def install_litellm() -> Path:
    """The `litellm` program of a virtual environment of its own; raises PeerMissing."""
    folder = _cache() / "litellm"
    program = folder / "bin" / "litellm"
    if not program.exists():
        _install("LiteLLM", [sys.executable, "-m", "venv", str(folder)], _cache())
        _install("LiteLLM", [str(folder / "bin" / "pip"), "install", "-q", "litellm[proxy]"], _cache())
    return program


def install_portkey() -> Path:
    """The start script of Portkey's gateway; raises PeerMissing, also without Node."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise PeerMissing("Portkey's gateway needs Node, which is not here")
    folder = _cache() / "portkey"
    script = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        folder.mkdir(exist_ok=True)
        _install("Portkey", ["npm", "init", "-y"], folder)
        _install("Portkey", ["npm", "install", "--no-audit", "--no-fund", "@portkey-ai/gateway"], folder)
    return script


@asynccontextmanager
async def litellm(upstream: str) -> AsyncIterator[Peer]:
    """LiteLLM's proxy with one worker, one model and a master key."""
    program = install_litellm()
    config = _cache() / "litellm.json"  # JSON is YAML
    route = {"model": "openai/bench", "api_base": f"{upstream}/v1", "api_key": "sk-bench"}
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "bench", "litellm_params": route}],
                "general_settings": {"master_key": "sk-bench"},
            }
        )
    )
    port = any_free()
    command = [str(program), "--config", str(config), "--port", str(port), "--num_workers", "1"]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with _running("LiteLLM", command, url, {"authorization": "Bearer sk-bench"}) as peer:
        yield peer


@asynccontextmanager
async def portkey(upstream: str) -> AsyncIterator[Peer]:
    """Portkey's gateway in front of a custom host."""
    script = install_portkey()
    port = any_free()
    headers = {
        "authorization": "Bearer sk-bench",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{upstream}/v1",
    }
    command = ["node", str(script), f"--port={port}", "--headless"]
    async with _running("Portkey", command, f"http://127.0.0.1:{port}/v1/chat/completions", headers) as peer:
        yield peer


@asynccontextmanager
async def _running(name: str, command: list[str], url: str, headers: dict[str, str]) -> AsyncIterator[Peer]:
    log = (_cache() / f"{name.lower()}.log").open("wb")
    process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    peer = Peer(name, process.pid, url, headers)
    try:
        await _answers(peer, process)
        yield peer
    finally:
        log.close()
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(peer: Peer, process: asyncio.subprocess.Process) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                return await peer.ask(session, stream=False)
            except (aiohttp.ClientError, RuntimeError) as error:
                if process.returncode is not None or time.monotonic() > give_up:
                    raise PeerMissing(f"{peer.name} did not start: {error}") from error
                await asyncio.sleep(0.25)
