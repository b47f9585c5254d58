"""One child process: how it is started, tied to us, recognised after a crash, and ended."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.local import files
from services.local.identity import Identity

TETHER = Path(__file__).with_name("tether.py")
LEFTOVER_WAIT_S = 15.0  # Postgres writing its last checkpoint; everything else is killed at once
KILL_WAIT_S = 5.0  # after SIGKILL only the kernel is left to wait for; longer means a stuck disk
LOG_BYTES_MAX = 16 * 1024 * 1024  # seen at each start of the child; one older file is kept
POLL_S = 0.01  # for the death of a process that is not our child: the system tells nobody else


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how to end it. `argv[0]` is an absolute path."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    identity: Identity | None = None  # None: as whoever we are
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # what it gets when we die without stopping it
    stop_timeout_s: float = 10.0


@dataclass(slots=True)
class Launch:
    """The arguments for one start of a child, and the pipe to close when it has ended (None on Linux)."""

    argv: list[str]
    pass_fds: tuple[int, ...]
    reader: int | None
    writer: int | None

    def started(self) -> None:
        """Close what only the child needs."""
        if self.reader is not None:
            os.close(self.reader)
            self.reader = None

    def ended(self) -> None:
        """Let the child's watcher go."""
        self.started()
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None


def launch(spec: ChildSpec, *, by_kernel: bool = sys.platform == "linux") -> Launch:
    """Prepare one start of `spec`, tied to the calling process.

    The kernel's tie is to the calling *thread*: start children from a thread that lives as long as they should.
    """
    reader, writer = (None, None) if by_kernel else os.pipe()
    identity = f"{spec.identity.uid}:{spec.identity.gid}" if spec.identity else "-"
    pipe = "-" if reader is None else str(reader)
    argv = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(int(spec.death_signal))]
    argv += [identity, pipe, "--", *spec.argv]
    return Launch(argv, () if reader is None else (reader,), reader, writer)


def open_log(spec: ChildSpec) -> int:
    """Open the child's log for appending, readable by its owner alone; a big one is set aside first."""
    with contextlib.suppress(FileNotFoundError):
        if spec.log.stat().st_size > LOG_BYTES_MAX:
            spec.log.replace(spec.log.with_suffix(".old.log"))
    return os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Which process we started, in a form that survives us: a process id alone is reused."""

    pid: int
    started: str  # the kernel's start time where it tells one, else "": then only the pid speaks
    death_signal: signal.Signals

    @classmethod
    def of(cls, pid: int, death_signal: signal.Signals) -> "Footprint":
        """Take the footprint of a running process, with the signal that should end it."""
        return cls(pid, _start_time(pid), death_signal)

    def save(self, path: Path) -> None:
        """Keep it in a file."""
        files.write(path, json.dumps({"pid": self.pid, "started": self.started, "signal": self.death_signal}))

    @classmethod
    def load(cls, path: Path) -> "Footprint | None":
        """Return what `save` wrote, or None when there is none or it was torn by a crash."""
        try:
            content = json.loads(path.read_text())
            return cls(int(content["pid"]), str(content["started"]), signal.Signals(content["signal"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def alive(self) -> bool:
        """Tell whether that very process still runs; a zombie does not."""
        return pid_alive(self.pid) and _start_time(self.pid) == self.started


def pid_alive(pid: int) -> bool:
    """Tell whether a process has this id and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def end_leftover(footprint: Footprint) -> bool:
    """End a process that outlived an earlier run, if needs be by SIGKILL to its group. True if there was one.

    Raises TimeoutError for one that not even that ends.
    """
    if not footprint.alive():
        return False
    for number, wait_s in ((footprint.death_signal, LEFTOVER_WAIT_S), (signal.SIGKILL, KILL_WAIT_S)):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                _kill_group(footprint.pid)
            else:
                os.kill(footprint.pid, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not footprint.alive():
                return True
            time.sleep(POLL_S)
    raise TimeoutError(f"process {footprint.pid} of an earlier run does not end, not even by SIGKILL")


@dataclass(slots=True)
class Child:
    """A running child of an event loop. Create it by `start`."""

    spec: ChildSpec
    process: asyncio.subprocess.Process
    _launch: Launch = field(repr=False)

    @classmethod
    async def start(cls, spec: ChildSpec) -> "Child":
        prepared = launch(spec)
        log = open_log(spec)
        try:
            process = await asyncio.create_subprocess_exec(
                *prepared.argv,
                env=dict(spec.environment),
                cwd=spec.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is ours to pass on, in order
                pass_fds=prepared.pass_fds,
            )
        except OSError:
            prepared.ended()
            raise
        finally:
            os.close(log)
        prepared.started()
        return cls(spec, process, prepared)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def wait(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        status = await self.process.wait()
        self._launch.ended()
        return status

    async def stop(self) -> int:
        """End it by its own signal, by SIGKILL to its whole group when that takes too long."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.spec.stop_signal)
        try:
            return await asyncio.wait_for(self.wait(), self.spec.stop_timeout_s)
        except TimeoutError:
            _kill_group(self.pid)
            return await self.wait()


@contextlib.contextmanager
def running(spec: ChildSpec) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `spec` for the length of a block, without an event loop: for tests and one-off commands."""
    prepared = launch(spec)
    log = open_log(spec)
    try:
        process = subprocess.Popen(  # noqa: S603 -- argv is made here, of absolute paths
            prepared.argv,
            env=dict(spec.environment),
            cwd=spec.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=prepared.pass_fds,
        )
    except OSError:
        prepared.ended()
        raise
    finally:
        os.close(log)
    prepared.started()
    try:
        yield process
    finally:
        process.send_signal(spec.stop_signal)
        try:
            process.wait(spec.stop_timeout_s)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            process.wait()
        prepared.ended()


def _kill_group(pid: int) -> None:
    """Kill the group that `pid` leads; every child of ours leads its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Return /proc's fields after the command's name (which may hold blanks), or nothing without /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def _state(pid: int) -> str:
    return (_stat(pid) or ["?"])[0]


def _start_time(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else ""
