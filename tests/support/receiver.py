"""A receiver of webhooks: a real HTTP server that keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

WAIT_S = 30.0


@dataclass
class Received:
    body: bytes
    headers: dict[str, str]


@dataclass
class Receiver:
    host: str = ""
    """As host:port."""
    refusing: int = 0
    """How many more deliveries are answered with status 503."""
    received: list[Received] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        async with self.changed:
            self.received.append(
                Received(await request.read(), {k.lower(): v for k, v in request.headers.items()})
            )
            self.changed.notify_all()
        if self.refusing:
            self.refusing -= 1
            return web.Response(status=503)
        return web.Response(status=204)

    async def until(self, count: int) -> list[Received]:
        """Waits for so many deliveries in all."""
        async with self.changed, asyncio.timeout(WAIT_S):
            await self.changed.wait_for(lambda: len(self.received) >= count)
        return list(self.received)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("POST", "/hook", receiver.take)
    application.router.add_route("POST", "/away", _away)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        receiver.host = f"{host}:{port}"
        yield receiver
    finally:
        await runner.cleanup()


async def _away(request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"location": "/hook"})
