"""Does on this machine what docker-compose.yml says, without containers: a process for each service of ours.

    python -m tests.support.compose FOLDER     # inside a network namespace of its own, as root

Names of containers lead to loopback, ports are exactly compose's, Postgres and Redis are the wheels' with compose's
command line. Every service is started with exactly its command and environment, once what it depends on is healthy, and
asked by exactly its health check; at the end each is told to stop. What happened is printed as JSON, a line a service.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from services.local import redis
from services.local.postgres import serving as postgres_serving

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "docker-compose.yml"
# Not ours: the test brings its own, or does without.
STORES = ("postgres", "redis")
OBSERVERS = ("jaeger", "prometheus", "grafana")
STOP_TIMEOUT_S = 30.0

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def load(environment: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables filled in from `environment`, as compose does it."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", value)
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return value

    loaded: dict[str, Any] = fill(yaml.safe_load(FILE.read_text()))
    return loaded


def ours(compose: Mapping[str, Any]) -> list[str]:
    """Our services, each after what it depends on."""
    services = compose["services"]
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name in STORES:
            return
        for needed in services[name].get("depends_on", {}):
            visit(needed)
        ordered.append(name)

    for name in services:
        if name not in OBSERVERS:
            visit(name)
    return ordered


def seconds(text: str) -> float:
    """A duration as compose writes it: `3s`."""
    assert text.endswith("s"), text
    return float(text[:-1])


def _loopback_up() -> None:
    """A new namespace has its loopback turned off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def _names_lead_home(folder: Path, names: list[str]) -> None:
    hosts = folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ["localhost", *names]))
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def _environment(service: Mapping[str, Any], folder: Path) -> dict[str, str]:
    # PATH finds the image's python; the rest of what an image gives is a home of its own.
    base = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder)}
    return base | {name: str(value) for name, value in service["environment"].items()}


def _healthy(
    service: Mapping[str, Any], process: subprocess.Popen[bytes], environment: dict[str, str]
) -> bool:
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    for _ in range(check["retries"]):
        command = subprocess.run(
            check["test"][1:],
            env=environment,
            timeout=seconds(check["timeout"]),
            capture_output=True,
            check=False,
        )
        if command.returncode == 0:
            return True
        if process.poll() is not None:
            return False
        time.sleep(seconds(check["interval"]))
    return False


@contextlib.contextmanager
def _redis(command: list[str]) -> Iterator[None]:
    program = redis.find_program()
    if program is None:
        yield  # the services say so and keep their state themselves
        return
    assert command[0] == "redis-server"
    process = subprocess.Popen([str(program.path), *command[1:]], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def run(folder: Path) -> None:
    """Starts everything in compose's order, asks its health, stops it in reverse; prints a line for each service."""
    _loopback_up()
    with postgres_serving(folder / "postgres", port=5432, durable=False) as dsn:
        password = dsn.split(":")[2].split("@")[0]
        compose = load({"TURNPIKE_POSTGRES_PASSWORD": password})
        _names_lead_home(folder, list(compose["services"]))
        with _redis(compose["services"]["redis"]["command"]), contextlib.ExitStack() as stack:
            for name in ours(compose):
                stack.callback(_report, *_start(name, compose["services"][name], folder, stack))


def _start(
    name: str, service: Mapping[str, Any], folder: Path, stack: contextlib.ExitStack
) -> tuple[str, bool, subprocess.Popen[bytes], Path]:
    home = folder / name
    home.mkdir()
    environment = _environment(service, home)
    log = home / "log"
    process = subprocess.Popen(
        ["python", "-m", *service["command"]],  # the image's entry point and compose's command
        env=environment,
        cwd=home,
        stdout=stack.enter_context(log.open("wb")),
        stderr=subprocess.STDOUT,
    )
    return name, _healthy(service, process, environment), process, log


def _report(name: str, healthy: bool, process: subprocess.Popen[bytes], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    said = log.read_text(errors="replace")[-3000:]
    print(json.dumps({"service": name, "healthy": healthy, "status": status, "log": said}), flush=True)


if __name__ == "__main__":
    os.environ.pop("TURNPIKE_POSTGRES_DSN", None)
    run(Path(sys.argv[1]))
