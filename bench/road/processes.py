"""What processes cost: CPU from /proc/PID/stat, memory as PSS from /proc/PID/smaps_rollup. Linux alone."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it, as far as they live."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                queue.extend(int(child) for child in task.read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of one process and of its children that have ended; 0 if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) * _TICK_S


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages are divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that are measured together, each with everything below it."""

    name: str
    pids: tuple[int, ...]

    def all(self) -> list[int]:
        """The processes of the group that live now."""
        return [found for pid in self.pids for found in descendants(pid)]

    def cpu_s(self) -> float:
        """CPU seconds of the group so far. Processes must not end between two readings."""
        return sum(cpu_s(pid) for pid in self.all())

    def pss_mb(self) -> float:
        """Memory of the group now, in megabytes of 10^6 bytes."""
        return sum(pss_bytes(pid) for pid in self.all()) / 1e6
