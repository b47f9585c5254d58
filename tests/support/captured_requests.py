"""Catches what a client sends: a server that keeps every request and answers each with an error."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Caught:
    """One request."""

    method: str
    path: str
    """With its query, as it was on the wire."""
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Catcher:
    """The server's address and what came."""

    url: str = ""
    requests: list[Caught] = field(default_factory=list)

    @property
    def last(self) -> Caught:
        return self.requests[-1]


@asynccontextmanager
async def catching() -> AsyncIterator[Catcher]:
    """A server that catches requests; every answer is a 400 that no client tries again."""
    catcher = Catcher()

    async def catch(request: web.Request) -> web.Response:
        content = await request.read()
        catcher.requests.append(
            Caught(
                request.method,
                request.raw_path,
                {name.lower(): value for name, value in request.headers.items()},
                json.loads(content) if content else None,
            )
        )
        error = {
            "type": "invalid_request_error",
            "message": "caught",
            "code": 400,
            "status": "INVALID_ARGUMENT",
        }
        return web.json_response({"type": "error", "error": error, "message": "caught"}, status=400)

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", catch)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        catcher.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield catcher
    finally:
        await runner.cleanup()
