"""The state folder: everything that the stack keeps on this machine, and the lock that makes it one stack's.

    <state>/lock                 held while a stack runs
    <state>/ports.json           the ports in use, kept so that a restart serves where the last one did
    <state>/run/                 each child's footprint and ready file
    <state>/log/                 each child's output
    <state>/secrets/             generated tokens and keys, one file each, 0600
    <state>/postgres/, redis/    theirs

It is `$TURNPIKE_STATE_DIR`, else `turnpike` in `$XDG_STATE_HOME`, else `~/.local/state/turnpike`: the place for
state of one user (XDG base directories), so that `turnpike ask` finds the stack from any folder and a second clone
of the project does not start a second database unasked.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.local import files

STATE_VARIABLE = "TURNPIKE_STATE_DIR"


class AlreadyRunning(RuntimeError):
    """Another stack holds the folder; the message names its process."""


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder that `environment` asks for."""
    if chosen := environment.get(STATE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state").absolute() / "turnpike"


class StateFolder:
    """The folder at `path`, made on first use. Root's may be searched by others, never listed: Postgres is one."""

    def __init__(self, path: Path) -> None:
        self.path = files.make_folder(path.absolute(), 0o711 if os.geteuid() == 0 else files.PRIVATE_FOLDER)
        self.run = files.make_folder(self.path / "run")
        self.log = files.make_folder(self.path / "log")
        self._secrets = files.make_folder(self.path / "secrets")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for a block. The kernel lets go of it when we die, however we die."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as held:
                holder = os.pread(handle, 32, 0).decode().strip()
                raise AlreadyRunning(f"process {holder} runs a stack in {self.path} already") from held
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    def secret(self, name: str, prefix: str = "") -> str:
        """Return the secret of this name, made up on first use."""
        return files.secret(self._secrets / name, prefix)

    def keep_secret(self, name: str, value: str) -> None:
        """Keep a secret that somebody else made."""
        files.write(self._secrets / name, value + "\n")

    def kept_secret(self, name: str) -> str | None:
        """Return the secret of this name, or None if there is none."""
        try:
            return (self._secrets / name).read_text().strip()
        except FileNotFoundError:
            return None

    def read(self, name: str) -> dict[str, object]:
        """Return a JSON object kept in the folder; an empty one if it is not there or not whole."""
        try:
            content = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, name: str, content: Mapping[str, object]) -> None:
        """Keep a JSON object in the folder."""
        files.write(self.path / name, json.dumps(content, indent=1) + "\n")
