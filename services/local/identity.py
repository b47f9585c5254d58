"""Whom a child runs as when we are root, and which folders that user can reach."""

import grp
import os
import pwd
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED_USER = "nobody"  # Postgres wants a user that the system knows by name, and we create none
# systemd's range for dynamic users: never given out by adduser, inside every container's map of 65,536 ids.
PRIVATE_GROUPS = range(61184, 65520)


class PrivilegeError(RuntimeError):
    """Root cannot be dropped on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and a group, by number."""

    uid: int
    gid: int

    def may_search(self, folder: Path) -> bool:
        """Tell whether this identity can reach things in `folder`: search permission on it and on all above it."""
        return all(self._may(part.stat(), search=True) for part in (folder, *folder.parents))

    def may_read(self, file: Path) -> bool:
        """Tell whether this identity can reach and read `file`."""
        return self.may_search(file.parent) and self._may(file.stat(), search=False)

    def _may(self, facts: os.stat_result, *, search: bool) -> bool:
        owner, group, other = (
            (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH)
            if search
            else (stat.S_IRUSR, stat.S_IRGRP, stat.S_IROTH)
        )
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & owner)
        if facts.st_gid == self.gid:
            return bool(facts.st_mode & group)
        return bool(facts.st_mode & other)


def unprivileged(gid: int) -> Identity:
    """Return the user `nobody` with a group of ours.

    Other daemons may run as `nobody` too. With a group of its own, our folder (0710, that group) is closed to
    them, and so are the process's memory and open files: the kernel compares groups as well as users.
    """
    try:
        return Identity(pwd.getpwnam(UNPRIVILEGED_USER).pw_uid, gid)
    except KeyError as missing:
        raise PrivilegeError(
            f"this system has no user {UNPRIVILEGED_USER!r} for Postgres to run as; "
            "start as a plain user instead, or give TURNPIKE_POSTGRES_DSN"
        ) from missing


def free_group() -> int:
    """Pick a group number that no name on this system has."""
    taken = {entry.gr_gid for entry in grp.getgrall()}
    return secrets.choice([gid for gid in PRIVATE_GROUPS if gid not in taken])
