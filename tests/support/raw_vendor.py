"""A vendor on a real socket whose every byte the test decides, for faults that no HTTP library would make."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request, "Connection"], Awaitable[None]]


@dataclass(slots=True)
class Connection:
    """What a script may do with the connection that a request came by."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        lines = [
            f"HTTP/1.1 {status} Scripted",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        await self.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def answer(
        self, body: bytes, status: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        """A whole answer with its length."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.head(status, {"content-type": content_type, "content-length": str(len(body)), **named})
        await self.write(body)

    async def begin_stream(self, content_type: str = "text/event-stream") -> None:
        await self.head(200, {"content-type": content_type, "transfer-encoding": "chunked"})

    async def chunk(self, data: bytes) -> None:
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def until_closed(self) -> None:
        """Returns when the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Breaks the connection without a farewell."""
        self.writer.transport.abort()


@dataclass
class RawVendor:
    """A running vendor. `script` may be replaced between requests."""

    script: Script
    address: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has closed a connection."""

    @property
    def base_url(self) -> str:
        return f"http://{self.address}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                await self.script(request, Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            self.closed.set()
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


@asynccontextmanager
async def raw_vendor(script: Script, *, tls: object = None, port: int = 0) -> AsyncIterator[RawVendor]:
    """A vendor at a port, any free one if 0, until the block ends. `tls` is an ssl.SSLContext."""
    vendor = RawVendor(script)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(vendor.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=tls)
    host, port = server.sockets[0].getsockname()[:2]
    vendor.address = f"{host}:{port}"
    try:
        yield vendor
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
