"""Becomes a given command, after tying it to the life of the process that started it.

Run as a script, with `-I -S` so that it starts in milliseconds and imports nothing of the project:

    python -I -S tether.py PARENT_PID SIGNAL UID:GID|- PIPE_FD|- -- COMMAND ARGUMENT…

On Linux the kernel sends SIGNAL when the parent dies (`PR_SET_PDEATHSIG`). Elsewhere a forked watcher blocks
on a pipe whose other end only the parent holds, and sends SIGNAL at its end of file. Either way the command
keeps the process id that the parent knows. Being a program of its own, and not a `preexec_fn`, it runs no
Python between fork and exec of a process that has threads, and can drop root before it ties the knot: the
kernel forgets the knot when credentials change.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def drop_root(uid: int, gid: int) -> None:
    """Give up root for good: no supplementary groups, no way back through a set-user-ID program."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def prctl(option: int, value: int) -> None:
    """Call Linux's prctl(2); raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def tie_by_kernel(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` at the parent's death, and leave at once if it is dead already."""
    prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        os._exit(128 + death_signal)


def tie_by_pipe(pipe: int, death_signal: int) -> None:
    """Leave a watcher behind that sends `death_signal` to this process when the parent's pipe end closes."""
    command = os.getpid()
    if os.fork() == 0:
        os.setsid()  # so that a signal to the command's group does not end its watcher
        for stream in (0, 1, 2):
            os.close(stream)
        os.read(pipe, 1)
        if os.getppid() == command:
            os.kill(command, death_signal)
        os._exit(0)
    os.close(pipe)


def main(arguments: list[str]) -> None:
    """Tie the knot and become the command; see the module's first lines for the arguments."""
    parent, death_signal, identity, pipe, separator, *command = arguments
    if separator != "--" or not command:
        raise SystemExit(__doc__)
    if identity != "-":
        uid, gid = identity.split(":")
        drop_root(int(uid), int(gid))
    if pipe == "-":
        tie_by_kernel(int(parent), int(death_signal))
    else:
        tie_by_pipe(int(pipe), int(death_signal))
    # Python ignores SIGPIPE, and ignored signals survive exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(command[0], command, os.environ)  # noqa: S606 -- to become the command is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
