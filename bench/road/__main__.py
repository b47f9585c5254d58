"""`make bench`: CPU per request, added latency and memory of the whole road, beside a gRPC echo and other gateways.

CPU is that of every process of the gateway, Postgres and Redis included, divided by the requests of the run; the load
generator's and the mock vendor's are left out. Runs of all contenders alternate, so that what else the machine does
hits all of them alike; the report gives medians. A run of ours counts only if the ledger has one commit, analytics one
usage entry and one decision for each request.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
import asyncpg
import grpc
import uvloop

from bench.deployment import SERVICES
from bench.road import peers
from bench.road.load import Ask, Load, run
from bench.road.processes import Group
from bench.road.stack import stack
from turnpike.common.v1 import content_pb2 as content
from turnpike.router.v1 import router_pb2 as router
from turnpike.router.v1.router_pb2_grpc import RouterServiceStub

STREAM_TOKENS = 100
STORES = (
    "postgres",
    "redis",
)  # counted in CPU, and apart in memory: their caches are as large as one lets them be
DEADLINE_S = 30.0
SETTLE_TIMEOUT_S = 30.0  # analytics reads the ledger's tail; a run ends when it has caught up


@dataclass
class Contender:
    """One gateway and its way of being asked."""

    name: str
    groups: tuple[Group, ...]
    unary: Ask
    stream: Ask
    settled: Callable[[], Awaitable[None]] | None = None
    """Waits until everything that the requests so far cause is done, and raises if it is not what it should be."""
    loads: dict[str, list[tuple[Load, dict[str, float]]]] = field(default_factory=dict)

    streams: bool = True
    """False if a peer does not serve streams here."""

    async def warm_up(self) -> None:
        """Caches, connections, compiled code. A peer that fails at streams is measured without; ours may not fail."""
        await run(self.unary, callers=8, requests=200)
        try:
            await run(self.stream, callers=4, requests=20)
        except* peers.PeerFailed as failed:
            self.streams = False
            print(f"streams left out: {failed.exceptions[0]}")
        if self.settled is not None:
            await self.settled()

    def cpu_s(self) -> dict[str, float]:
        """CPU so far, by group."""
        return {group.name: group.cpu_s() for group in self.groups}

    async def measure(self, case: str, ask: Ask, callers: int, requests: int) -> None:
        """One run; remembered with the CPU that each group used per request, in milliseconds."""
        before = self.cpu_s()
        load = await run(ask, callers=callers, requests=requests)
        if self.settled is not None:
            await self.settled()
        after = self.cpu_s()
        used = {name: (after[name] - before[name]) / requests * 1000 for name in after}
        self.loads.setdefault(case, []).append((load, used))


def _request() -> router.GenerateRequest:
    message = content.Message(
        role=content.ROLE_USER,
        parts=[content.Part(text=content.TextPart(text="Say hello to the whole town."))],
    )
    return router.GenerateRequest(
        model="auto", input=content.GenerationInput(messages=[message], max_output_tokens=256)
    )


class Books:
    """Counts what our own requests left behind, and compares. Asks Postgres itself: asking the services would cost
    them more than the requests did."""

    COUNTS = """
        SELECT (SELECT count(*) FROM analytics.usage_entry WHERE kind = 'commit') AS entries,
               (SELECT count(*) FROM analytics.decision) AS decisions
    """

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.asked = 0

    async def settled(self) -> None:
        """Waits for analytics; raises if there is not one usage entry and one decision for each request."""
        counts = (0, 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while min(counts) < self.asked:
                    await asyncio.sleep(0.1)
                    (counts,) = [tuple(row) for row in await self._connection.fetch(self.COUNTS)]
        if counts != (self.asked, self.asked):
            raise RuntimeError(f"{self.asked} requests left {counts} usage entries of commits and decisions")


@asynccontextmanager
async def _ours(upstream: str, ratio: float, folder: Path) -> AsyncIterator[Contender]:
    environment = {"TURNPIKE_TRACE_RATIO": str(ratio), "TURNPIKE_ACCESS_LOG": "failures"}
    async with (
        _collector() as collector,
        stack(folder, upstream, environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}) as running,
        grpc.aio.insecure_channel(running.router) as channel,
        _connection(running.dsn) as connection,
    ):
        stub = RouterServiceStub(channel)
        metadata = (("authorization", f"Bearer {running.tenant.key}"),)
        books = Books(connection)
        request = _request()

        async def unary() -> None:
            answer = await stub.Generate(request, metadata=metadata, timeout=DEADLINE_S)
            books.asked += 1
            assert answer.choices[0].message.parts[0].text.text

        async def stream() -> None:
            words, finished = 0, False
            async for event in stub.StreamGenerate(
                router.StreamGenerateRequest(request=request), metadata=metadata, timeout=DEADLINE_S
            ):
                words += event.delta.text.count("word")  # pieces that come together are told as one
                finished = event.HasField("finished")
            books.asked += 1
            assert finished
            assert words == STREAM_TOKENS

        name = f"Turnpike, traces {ratio:g}"
        yield Contender(name, running.groups, unary, stream, books.settled)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    """Takes traces and throws them away: sending them is part of what is measured, keeping them is not."""

    async def export(request: bytes, context: object) -> bytes:
        return b""

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "opentelemetry.proto.collector.trace.v1.TraceService",
        {"Export": grpc.unary_unary_rpc_method_handler(export)},
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def _echo() -> AsyncIterator[Contender]:
    async with (
        _printing_its_port("bench.road.echo") as (pid, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bench.Echo/Echo")
        stream_echo: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            "/bench.Echo/Stream"
        )
        body = _request().SerializeToString()

        async def unary() -> None:
            await echo(body, timeout=DEADLINE_S)

        async def stream() -> None:
            async for _ in stream_echo(bytes([STREAM_TOKENS]), timeout=DEADLINE_S):
                pass

        yield Contender("grpc.aio echo (floor)", (Group("echo", (pid,)),), unary, stream)


@asynccontextmanager
async def _peer(name: str, upstream: str) -> AsyncIterator[Contender]:
    start = {"litellm": peers.litellm, "portkey": peers.portkey}[name]
    connector = aiohttp.TCPConnector(limit=0)
    async with start(upstream) as peer, aiohttp.ClientSession(connector=connector) as session:
        yield Contender(
            peer.name,
            (Group(peer.name, (peer.pid,)),),
            lambda: peer.ask(session, stream=False),
            lambda: peer.ask(session, stream=True),
        )


@asynccontextmanager
async def _printing_its_port(module: str, *arguments: str) -> AsyncIterator[tuple[int, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


def _report(contenders: list[Contender]) -> None:
    cases = list(contenders[0].loads)
    for case in cases:
        print(f"\n{case}")
        print(f"  {'':24}{'CPU ms/request':>16}{'p50 ms':>9}{'p99 ms':>9}{'per s':>8}   of which")
        for contender in contenders:
            if case not in contender.loads:
                continue
            runs = contender.loads[case]
            cpu = median(sum(used.values()) for _, used in runs)
            parts = {name: median(used[name] for _, used in runs) for name in runs[0][1]}
            split = (
                ", ".join(f"{name} {value:.2f}" for name, value in parts.items()) if len(parts) > 1 else ""
            )
            print(
                f"  {contender.name:24}{cpu:16.2f}{median(load.median_ms for load, _ in runs):9.1f}"
                f"{median(load.latency_ms(0.99) for load, _ in runs):9.1f}"
                f"{median(load.per_second for load, _ in runs):8.0f}   {split}"
            )
    print("\nmemory after the runs, MB of PSS")
    for contender in contenders:
        memory = {group.name: group.pss_mb() for group in contender.groups if group.pids}
        own = sum(size for name, size in memory.items() if name not in STORES)
        split = ", ".join(f"{name} {size:.0f}" for name, size in memory.items())
        print(
            f"  {contender.name:24}{own:16.0f}   {split}"
            if len(memory) > 1
            else f"  {contender.name:24}{own:16.0f}"
        )


async def _main(options: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="turnpike-bench-")))
        _, port = await opened.enter_async_context(
            _printing_its_port("bench.road.upstream", "--tokens", str(STREAM_TOKENS))
        )
        upstream = f"http://127.0.0.1:{port}"
        contenders = [
            await opened.enter_async_context(_ours(upstream, ratio, folder / f"ratio-{ratio:g}"))
            for ratio in options.trace_ratios
        ]
        contenders.append(await opened.enter_async_context(_echo()))
        for name in options.peers:
            try:
                contenders.append(await opened.enter_async_context(_peer(name, upstream)))
            except peers.PeerMissing as missing:
                print(f"left out: {missing}")
        for contender in contenders:
            await contender.warm_up()
        for _ in range(options.runs):
            for contender in contenders:
                await contender.measure("unary, 1 at a time", contender.unary, 1, options.requests // 8)
                await contender.measure("unary, 32 at a time", contender.unary, 32, options.requests)
                if contender.streams:
                    await contender.measure(
                        f"stream of {STREAM_TOKENS} tokens, 32 at a time",
                        contender.stream,
                        32,
                        options.requests // 8,
                    )
        print(
            f"services: {', '.join(SERVICES)}, one process each; Postgres with fsync; medians of {options.runs} runs"
        )
        _report(contenders)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.road", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests of a run at 32 at a time")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trace-ratios", type=float, nargs="+", default=[0.1, 1.0])
    parser.add_argument("--peers", nargs="*", default=["litellm", "portkey"], choices=["litellm", "portkey"])
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
