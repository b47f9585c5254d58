"""A child's tie to its parent, by the kernel and by the pipe that stands in where there is no such call."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local import files
from services.local.child import ChildSpec, Footprint, end_leftover, launch, pid_alive, running
from tests.support.stack_process import until

# A parent that starts one tied child, prints its pid, and waits to be killed.
PARENT = """
import subprocess, sys, time
from pathlib import Path
from services.local.child import ChildSpec, launch
spec = ChildSpec("sleeper", ("/bin/sleep", "600"), {}, Path("/"), Path("/dev/null"))
prepared = launch(spec, by_kernel=sys.argv[1] == "kernel")
child = subprocess.Popen(prepared.argv, env={}, start_new_session=True, pass_fds=prepared.pass_fds)
prepared.started()
print(child.pid, flush=True)
time.sleep(600)
"""


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]


@pytest.mark.parametrize("how", ["kernel", "pipe"])
def test_a_child_dies_with_a_parent_that_is_killed(how: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: command_of(pid) == "/bin/sleep", "the child to become its command")
    parent.kill()
    parent.wait()
    until(lambda: not pid_alive(pid), "the end of the child")
    parent.stdout.close()


def test_a_pipes_watcher_leaves_with_the_child(tmp_path: Path) -> None:
    spec = ChildSpec("brief", ("/bin/true",), {}, tmp_path, tmp_path / "log")
    prepared = launch(spec, by_kernel=False)
    child = subprocess.Popen(prepared.argv, env={}, start_new_session=True, pass_fds=prepared.pass_fds)
    prepared.started()
    assert child.wait(10) == 0
    marker = f"\0{spec.argv[0]}\0"
    prepared.ended()

    def watchers() -> list[str]:
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = entry.read_text()
            except OSError:
                continue
            if "tether.py" in text and marker in text and f"\0{os.getpid()}\0" in text:
                lines.append(text)
        return lines

    until(lambda: not watchers(), "the watcher's end")


def test_a_child_that_ignores_its_stop_signal_is_killed(tmp_path: Path) -> None:
    stubborn = ("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    spec = ChildSpec(
        "stubborn", stubborn, {"PATH": os.defpath}, tmp_path, tmp_path / "log", stop_timeout_s=0.2
    )
    with running(spec) as process:
        until(lambda: "deaf" in spec.log.read_text(), "the child to be deaf")
        began = time.monotonic()
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_a_footprint_knows_its_process_from_a_later_one_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "footprint.json"
    Footprint.of(os.getpid(), signal.SIGTERM).save(path)
    mine = Footprint.load(path)
    assert mine is not None
    assert mine.alive()
    impostor = Footprint(os.getpid(), "12345", signal.SIGKILL)
    assert not impostor.alive()
    assert not end_leftover(impostor)  # we live on
    path.write_text('{"pid": 1')
    assert Footprint.load(path) is None


def test_a_leftover_is_ended(tmp_path: Path) -> None:
    child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        assert end_leftover(Footprint.of(child.pid, signal.SIGTERM))
    finally:
        child.kill()
    assert child.wait() == -signal.SIGTERM


def test_private_files_are_private_from_the_first_byte_and_whole(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        folder = files.make_folder(tmp_path / "folder")
        value = files.secret(folder / "secret", "tps_")
    finally:
        os.umask(old_mask)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert files.secret(folder / "secret") == value
    assert value.startswith("tps_")
    assert [path.name for path in folder.iterdir()] == ["secret"]  # no draft is left
