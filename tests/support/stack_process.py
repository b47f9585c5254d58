"""Runs `turnpike up` as a process of its own and watches what it does, as a person would."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from services.local.child import Footprint
from services.local.ports import any_free
from services.local.stack import DEFAULT_PORTS
from services.local.state import StateFolder

PATIENCE_S = 90.0  # generous: the machine may be busy with other tests
POLL_S = 0.02


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for `condition`; fails with `what` when it does not come."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s in vain for {what}"
        time.sleep(POLL_S)


class StackProcess:
    """A running `turnpike up` on a state folder of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", state: Path, output: Path) -> None:
        self.process = process
        self.state = state
        self._output = output

    @property
    def text(self) -> str:
        """Everything it printed so far."""
        return self._output.read_text()

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Wait until it printed `pattern` (a regular expression) `count` times; fails early when it ends."""

        def seen() -> bool:
            if len(re.findall(pattern, self.text, re.MULTILINE)) >= count:
                return True
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text}"
            return False

        until(seen, f"{pattern!r} in:\n{self.text}")

    def pid(self, component: str) -> int:
        """The process id of a component's present run."""
        footprint = Footprint.load(self.state / "run" / f"{component}.json")
        assert footprint is not None, f"{component} has no footprint"
        return footprint.pid

    def processes(self) -> list[int]:
        """Every process on the machine that this stack started, however deep: all carry its mark."""
        mark = f"TURNPIKE_STATE_DIR={self.state}".encode()
        found = set(self._workers_of_postgres())
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    found.add(int(environ.parent.name))
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.state).encode() in cmdline.read_bytes():
                    found.add(int(cmdline.parent.name))
        return sorted(found - {os.getpid()})

    def _workers_of_postgres(self) -> list[int]:
        home = self.state / "postgres"
        data = (home / "annex").readlink() / "data" if (home / "annex").is_symlink() else home / "data"
        found = []
        for cwd in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if cwd.readlink() == data:
                    found.append(int(cwd.parent.name))
        return found


@contextlib.contextmanager
def stack(state: Path, *arguments: str, **environment: str) -> Iterator[StackProcess]:
    """Run `turnpike up` with `arguments` for a block; whatever the block does to it, nothing is left of it."""
    # Ports of its own, not the documented ones: other stacks may run on this machine.
    folder = StateFolder(state)
    folder.write("ports.json", {name: any_free() for name in DEFAULT_PORTS} | folder.read("ports.json"))
    output = state.parent / f"{state.name}.out"
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNPIKE_") and not name.endswith("_API_KEY")
    }
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", *arguments],
            env={**inherited, "TURNPIKE_STATE_DIR": str(state), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    running = StackProcess(process, state, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        until(lambda: not running.processes(), f"the end of {running.processes()}")


def remove_clusters(folder: Path) -> None:
    """Delete what tests run by root left of Postgres outside of `folder` (docs/decisions/0050)."""
    for link in folder.rglob("annex"):
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
