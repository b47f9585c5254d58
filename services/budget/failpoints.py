"""Places where a test may end this process, to show that nothing is lost there. Off unless a folder is named.

A place is armed by making a file of its name in TURNPIKE_BUDGET_FAILPOINTS; the process that comes by removes the file
and kills itself, so each file is one death at exactly that place.
"""

import os
import signal
from pathlib import Path

BEFORE_WRITE = "before_write"
"""A batch is decided and not yet sent to the journal."""
AFTER_WRITE = "after_write"
"""The journal has a batch and nobody has been answered."""


class Failpoints:
    """The places of one process."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def reached(self, place: str) -> None:
        """Returns, unless the place is armed."""
        if self._folder is None:
            return
        armed = self._folder / f"{place}.{os.getpid()}"
        if not armed.exists():
            return
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
