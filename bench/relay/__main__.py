"""The command: see the package."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop

from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2 as pb
from turnpike.providers.v1 import providers_pb2_grpc

TOKEN = "tps_bench"
MODEL = "local/relay"
READY_S = 30.0
GRANT = 1_000_000


async def run(address: str, streams: int, tokens_per_second: float, seconds: float) -> list[float]:
    """Lags in milliseconds of every token of `streams` streams, in the order of their coming."""
    lags: list[float] = []
    options = [("grpc.max_receive_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = providers_pb2_grpc.ProviderServiceStub(channel)
        call: Any = stub.Dispatch(metadata=(("authorization", f"Bearer {TOKEN}"),))
        message = content_pb2.Message(role=content_pb2.ROLE_USER)
        message.parts.add().text.text = str(tokens_per_second)
        for first in range(0, streams, 50):
            operations = []
            for number in range(first, min(streams, first + 50)):
                start = pb.Attempt(
                    model=MODEL,
                    input=content_pb2.GenerationInput(messages=[message]),
                    max_output_tokens=10_000,
                    stream=True,
                )
                operation = pb.DispatchOperation(operation_id=number + 1, start=start)
                operation.timeout.seconds = int(seconds) + 60
                credit = pb.DispatchOperation(operation_id=number + 1, credit=pb.GrantCredit(deltas=GRANT))
                operations += [operation, credit]
            await call.write(pb.DispatchRequest(operations=operations))
            await asyncio.sleep(0.02)  # streams of real callers do not begin in one millisecond
        ended = 0
        while ended < streams:
            response = await call.read()
            now = time.monotonic_ns()
            for event in response.events:
                kind = event.WhichOneof("event")
                if kind == "delta":
                    if event.delta.text:
                        lags.append((now - int(event.delta.text)) / 1e6)
                elif kind == "finished":
                    ended += 1
                elif kind == "failed":
                    raise RuntimeError(event.failed.message)
        call.cancel()
    return lags


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds and resident megabytes of a process."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(stat[11]) + int(stat[12])) / ticks, int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def serve_providers(folder: Path, vendor: str) -> tuple[subprocess.Popen[bytes], str]:
    """The providers service on one core, and where it listens."""
    endpoints = folder / "endpoints.json"
    endpoint = {"model": MODEL, "base_url": vendor, "wire_format": "openai_chat", "concurrency_max": 10_000}
    endpoints.write_text(json.dumps({"endpoints": [endpoint]}))
    ready = folder / "ready"
    environment = {
        **os.environ,
        "TURNPIKE_LISTEN": "127.0.0.1:0",
        "TURNPIKE_ENDPOINTS_FILE": str(endpoints),
        "TURNPIKE_SERVICE_TOKENS": f"router={TOKEN}",
        "TURNPIKE_READY_FILE": str(ready),
        "TURNPIKE_ACCESS_LOG": "off",
        "TURNPIKE_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "services.providers"], env=environment)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    ends = time.monotonic() + READY_S
    while not ready.exists():
        if time.monotonic() > ends or process.poll() is not None:
            raise RuntimeError("the providers service did not begin to serve")
        time.sleep(0.05)
    return process, ready.read_text().strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.relay")
    parser.add_argument("--streams", default="50,100,200,400,600")
    parser.add_argument("--tokens-per-second", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--open", type=int, default=2000)
    options = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "bench.relay.vendor",
        str(options.seconds),
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as vendor,
    ):
        providers = None
        try:
            assert vendor.stdout is not None
            root = f"http://127.0.0.1:{vendor.stdout.readline().strip()}/v1"
            providers, address = serve_providers(Path(folder), root)
            print(
                f"{'streams':>8}{'tokens/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'worst ms':>10}{'of a core':>10}{'MB':>8}"
            )
            rows = [(int(streams), options.tokens_per_second) for streams in options.streams.split(",")]
            for streams, pace in [*rows, (options.open, 1.0)]:
                cpu_before, _ = usage(providers.pid)
                begun = time.monotonic()
                lags = uvloop.run(run(address, streams, pace, options.seconds))
                took = time.monotonic() - begun
                cpu_after, memory = usage(providers.pid)
                lags.sort()
                p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
                share = (cpu_after - cpu_before) / took
                print(
                    f"{streams:>8}{len(lags) / took:>10.0f}{p50:>9.1f}{p99:>9.1f}{lags[-1]:>10.1f}"
                    f"{share:>14.0%} {memory:>7.0f}",
                    flush=True,
                )
        finally:
            vendor.terminate()
            if providers is not None:
                providers.terminate()
                providers.wait()


if __name__ == "__main__":
    main()
