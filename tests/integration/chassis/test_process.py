"""A service as a process: arguments, readiness, draining."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from services.chassis.probe import probe
from tests.support.echo import EchoStub
from tests.support.house import ROOT

COMMAND = [sys.executable, "-m", "tests.support.echo"]


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TURNPIKE_", "OTEL_"))}
    return clean | variables


def ask(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_names_every_variable() -> None:
    answer = ask("--help")
    assert answer.returncode == 0
    assert "TURNPIKE_LISTEN" in answer.stdout


def test_settings_are_checked_without_starting() -> None:
    assert ask("--check-config").returncode == 0
    answer = ask("--check-config", TURNPIKE_LISTEN="nowhere", TURNPIKE_TRACE_RATIO="2")
    assert answer.returncode == 2
    assert "TURNPIKE_LISTEN: must be host:port" in answer.stderr
    assert "TURNPIKE_TRACE_RATIO: must be at most 1" in answer.stderr


def test_a_port_that_is_taken_is_said_and_ends_the_process() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = ask(TURNPIKE_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
    assert answer.returncode == 1
    assert "cannot serve" in answer.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_when_it_is_ready_drains_and_ends(tmp_path: Path, number: signal.Signals) -> None:
    log_file, ready_file = tmp_path / "log", tmp_path / "ready"
    variables = environment(
        TURNPIKE_READY_FILE=str(ready_file), TURNPIKE_ACCESS_LOG="all", TURNPIKE_METRICS_LISTEN="127.0.0.1:0"
    )
    with log_file.open("w") as log, subprocess.Popen(COMMAND, cwd=ROOT, env=variables, stderr=log) as process:
        try:
            address = await _content(ready_file, process)
            async with grpc.aio.insecure_channel(address) as channel:
                traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
                metadata = (("traceparent", traceparent), ("authorization", "Bearer tps_hunter2"))
                answer = await EchoStub(channel).Say(StringValue(value="hello"), metadata=metadata)
                assert answer.value == "hello"
                with pytest.raises(grpc.aio.AioRpcError):
                    await EchoStub(channel).Say(StringValue(value="crash"), metadata=metadata)
            assert await asyncio.to_thread(probe, address) == "SERVING"
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 10) == 0
        finally:
            process.kill()
    lines = [json.loads(line) for line in log_file.read_text().splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines]
    assert events.count("ready") == 1
    assert events[-2:] == ["draining", "stopped"]
    ready = lines[events.index("ready")]
    assert ready["listen"] == address
    assert ready["service"] == "echo"
    call = lines[events.index("call")]
    assert (call["trace_id"], call["status"]) == ("a" * 32, "OK")
    crash = lines[events.index("internal error")]
    assert "RuntimeError" in crash["exception"], "our log has the whole story"
    assert "tps_hunter2" not in log_file.read_text()


async def _content(file: Path, process: "subprocess.Popen[bytes]") -> str:
    async with asyncio.timeout(20):
        while not file.exists():
            assert process.poll() is None, "it ended before it was ready"
            await asyncio.sleep(0.02)
    return file.read_text().strip()
