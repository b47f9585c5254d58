"""A way to a server that a test can cut and mend: a TCP proxy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CHUNK = 65_536


class Severable:
    """Connections to a server, as long as it is not cut off."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self.port = 0

    def cut(self) -> None:
        """Ends every connection and takes no new one."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Takes connections again."""
        self._cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        both = {writer, there_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass_on(reader, there_writer))
                ways.create_task(_pass_on(there_reader, writer))
        finally:
            self._writers -= both


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def severable(dsn: str) -> AsyncIterator[tuple[Severable, str]]:
    """A way to the server of `dsn`, and the DSN that goes it."""
    parts = urlsplit(dsn)
    assert parts.hostname, "a DSN of a server that listens on TCP"
    assert parts.port, "a DSN of a server that listens on TCP"
    way = Severable(parts.hostname, parts.port)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    credentials = parts.netloc.rpartition("@")[0]
    try:
        yield way, parts._replace(netloc=f"{credentials}@127.0.0.1:{way.port}").geturl()
    finally:
        way.cut()
        server.close()
        await server.wait_closed()
