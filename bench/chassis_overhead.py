"""What the chassis costs a call: CPU of a server process per request, bare grpc.aio beside the whole pipeline.

    python -m bench.chassis_overhead [CALLS]

Every server runs in a process of its own under uvloop and is asked by this one, CONCURRENCY calls at a time. Prints
microseconds of CPU of the server's process per call, the best of ROUNDS (other load on the machine only adds).
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import grpc
import psutil  # type: ignore[import-untyped]
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from services.chassis.app import serving
from services.chassis.batch_client import BatchClient
from services.chassis.channel import connect
from services.chassis.settings import Secret
from tests.support.batches import Batches, Operation, batches_app, operation
from tests.support.echo import EchoServicer, EchoSettings, EchoStub, add_EchoServicer_to_server, echo_app
from turnpike.budget.v1 import budget_pb2, budget_pb2_grpc

CONCURRENCY = 32
ROUNDS = 3
TOKEN = Secret("tps_bench")
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"

Server = Callable[[Connection], Awaitable[None]]
Ask = Callable[[Any], Awaitable[object]]


async def bare(pipe: Connection) -> None:
    class Bare(EchoServicer):
        async def Say(self, request: StringValue, context: Any) -> StringValue:
            return request

    server = grpc.aio.server()
    add_EchoServicer_to_server(Bare(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()


def chassis(app: Any, **settings: Any) -> Server:
    async def serve(pipe: Connection) -> None:
        async with serving(app, EchoSettings(service_tokens={"bench": TOKEN}, **settings)) as running:
            pipe.send(str(running.address))
            await asyncio.Event().wait()

    return serve


async def sink(pipe: Connection) -> None:
    """A collector that throws spans away."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        async def Export(self, request: Any, context: Any) -> Any:
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"http://127.0.0.1:{port}")
    await server.wait_for_termination()


def start(server: Server) -> tuple[multiprocessing.Process, str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_main, args=(server, theirs), daemon=True)
    process.start()
    return process, str(ours.recv())


def _main(server: Server, pipe: Connection) -> None:
    uvloop.run(server(pipe))  # type: ignore[arg-type]


async def unary(address: str, calls: int) -> float:
    metadata = (("authorization", f"Bearer {TOKEN}"), ("traceparent", TRACEPARENT))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = EchoStub(channel)
        return await _load(
            lambda _: stub.Say(StringValue(value="hello"), metadata=metadata, timeout=10), calls
        )


async def batched(address: str, calls: int) -> float:
    async with (
        connect("bench", address, token=TOKEN) as remote,
        BatchClient[Operation, Any](
            remote,
            budget_pb2_grpc.BudgetServiceStub(remote.channel).Apply,
            pack=lambda operations: budget_pb2.ApplyRequest(operations=operations),
            unpack=lambda response: response.results,
        ) as asking,
    ):
        return await _load(lambda _: asking.call(operation("hello"), timeout_s=10), calls)


async def _load(ask: Ask, calls: int) -> float:
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await ask(number)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return time.perf_counter() - begun


async def measure(
    name: str, server: Server, load: Callable[[str, int], Awaitable[float]], calls: int
) -> None:
    process, address = await asyncio.to_thread(start, server)
    try:
        await load(address, calls // 10)
        figures = []
        for _ in range(ROUNDS):
            cpu = psutil.Process(process.pid)
            before, mine = sum(cpu.cpu_times()[:2]), time.process_time()
            seconds = await load(address, calls)
            figures.append(
                (
                    (sum(cpu.cpu_times()[:2]) - before) / calls * 1e6,
                    (time.process_time() - mine) / calls * 1e6,
                    calls / seconds,
                )
            )
        best = min(figures)
        print(f"{name:44} {best[0]:7.0f} µs server {best[1]:7.0f} µs client {best[2]:8.0f} calls/s")
    finally:
        process.kill()
        process.join()


async def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    collector, endpoint = start(sink)
    print(f"{calls} calls, {CONCURRENCY} at a time, best of {ROUNDS}")
    await measure("unary, bare grpc.aio", bare, unary, calls)
    await measure("unary, chassis", _Unary(), unary, calls)
    await measure("unary, chassis, traces exported", _Unary(otlp_endpoint=endpoint), unary, calls)
    await measure("batched, handler per operation", _Batched("handle"), batched, calls)
    await measure(
        "batched, handler per operation, traced", _Batched("handle", otlp_endpoint=endpoint), batched, calls
    )
    await measure("batched, whole batches", _Batched("accept"), batched, calls)
    collector.kill()


class _Unary:
    """A server that can be sent to another process."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    async def __call__(self, pipe: Connection) -> None:
        await chassis(echo_app(), **self._settings)(pipe)


class _Batched:
    """A server that can be sent to another process."""

    def __init__(self, way: str, **settings: Any) -> None:
        self._way, self._settings = way, settings

    async def __call__(self, pipe: Connection) -> None:
        await chassis(batches_app(Batches(self._way)), **self._settings)(pipe)


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    uvloop.run(main())
