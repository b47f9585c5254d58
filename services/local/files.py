"""Files of the state folder: private from their first byte, and whole after a crash."""

import contextlib
import os
import secrets
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
SECRET_BYTES = 24  # 192 bits: nobody guesses it


def make_folder(path: Path, mode: int = PRIVATE_FOLDER, group: int | None = None) -> Path:
    """Create `path` with exactly `mode` (whatever the umask), unless it is there: what exists is not touched."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    try:
        path.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        return path
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(mode)
    return path


def write(path: Path, content: str, mode: int = PRIVATE_FILE, group: int | None = None) -> None:
    """Replace `path` as a whole: readers see the old content or the new, also after a crash."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            if group is not None:
                os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        raise


def secret(path: Path, prefix: str = "") -> str:
    """Return the secret kept in `path`, made up now (after `prefix`) if there is none yet."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        value = prefix + secrets.token_urlsafe(SECRET_BYTES)
        write(path, value + "\n")
        return value
