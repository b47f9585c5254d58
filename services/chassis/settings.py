"""Settings of a service: a frozen dataclass whose fields name the environment variables that set them.

    @dataclass(frozen=True, kw_only=True)
    class BudgetSettings(ServiceSettings):
        postgres_dsn: Secret = env("TURNPIKE_POSTGRES_DSN", dsn("postgresql"), "Where the ledger lies.")
        lease_s: float = env("TURNPIKE_BUDGET_LEASE_S", number(min=1, max=3600), "Life of a hold.", default=60.0)

`load` reports everything that is wrong at once, each with its variable's name and what would be right, and never prints
a value that may be secret. In tests a settings object is made directly, with keyword arguments.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

Settings = TypeVar("Settings")
Parser = Callable[[str], Any]
"""Turns a variable's text into a value; raises ValueError, whose text says what would be right."""


class Secret(str):
    """Text that shows itself only where it is used: its repr and a formatted settings object hide it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or whom to call. Port 0 means any free one, where listening."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One variable that is missing or wrong."""

    variable: str
    description: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.description}"


class SettingsInvalid(Exception):
    """The environment does not make valid settings; `problems` has every one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def env(variable: str, parse: Parser, help: str, *, default: Any = MISSING) -> Any:
    """A field set by the environment `variable`. Without `default` it is required; empty counts as not set."""
    about = {"variable": variable, "parse": parse, "help": help}
    if default is MISSING:
        return field(metadata=about)
    if isinstance(default, dict):  # mutable: each settings object gets its own
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def variables(settings: type) -> list[dataclasses.Field[Any]]:
    """The fields of a settings class that the environment sets, in order."""
    return [item for item in dataclasses.fields(settings) if "variable" in item.metadata]


def load(settings: type[Settings], environment: Mapping[str, str]) -> Settings:
    """The settings that `environment` describes; raises SettingsInvalid with all problems.

    A class may define `problems(self) -> Iterable[Problem]` for what only several values together show.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for item in variables(settings):
        variable = item.metadata["variable"]
        text = environment.get(variable, "").strip()
        if not text:
            if _required(item):
                problems.append(Problem(variable, f"is required. {item.metadata['help']}"))
            continue
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            problems.append(Problem(variable, f"{error}. {item.metadata['help']}"))
    if problems:
        raise SettingsInvalid(problems)
    loaded = settings(**values)
    across = list(getattr(loaded, "problems", tuple)())
    if across:
        raise SettingsInvalid(across)
    return loaded


def describe(settings: type) -> str:
    """The variables of a settings class with their meaning and defaults, for `--help`."""
    lines = []
    for item in variables(settings):
        default = "required" if _required(item) else f"default {_shown(item.default)}"
        lines.append(f"  {item.metadata['variable']}\n      {item.metadata['help']} ({default})")
    return "\n".join(lines)


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _shown(value: object) -> str:
    if value in (None, MISSING, ""):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- parsers: from a variable's text to a value ----------------------------------------------------------------------


def text(value: str) -> str:
    """Any text."""
    return value


def secret(value: str) -> Secret:
    """Any text, never shown."""
    return Secret(value)


def path(value: str) -> Path:
    """A file or folder; `~` is the home folder."""
    return Path(value).expanduser()


def boolean(value: str) -> bool:
    """`true` or `false`, also `1`, `0`, `yes`, `no`, `on`, `off`."""
    known = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def integer(*, min: int | None = None, max: int | None = None) -> Parser:
    """A whole number within bounds, both included; `_` may group digits."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        return _bounded(number, min, max)

    return parse


def number(*, min: float | None = None, max: float | None = None) -> Parser:
    """A finite number within bounds, both included."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError("must be a number") from None
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError("must be a finite number")
        return _bounded(number, min, max)

    return parse


Number = TypeVar("Number", int, float)


def _bounded(number: Number, low: float | None, high: float | None) -> Number:
    if low is not None and number < low:
        raise ValueError(f"must be at least {low}")
    if high is not None and number > high:
        raise ValueError(f"must be at most {high}")
    return number


def choice(*options: str) -> Parser:
    """One of `options`, in any case."""

    def parse(value: str) -> str:
        if value.lower() not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return value.lower()

    return parse


def address(value: str) -> Address:
    """`host:port`, `[v6]:port`; the port is 0 to 65535."""
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port")
    return Address(host, int(port))


def target(value: str) -> str:
    """Whom to call: `host:port`, or a gRPC target such as `dns:///budget:50051`."""
    if "://" in value or value.startswith(("dns:", "unix:", "ipv4:", "ipv6:")):
        return value
    return str(address(value))


def url(*schemes: str) -> Parser:
    """A URL with a host, of one of `schemes`."""

    def parse(value: str) -> str:
        _check_url(value, schemes)
        return value

    return parse


def dsn(*schemes: str) -> Parser:
    """A URL that may hold a password; never shown. A unix socket needs no host."""

    def parse(value: str) -> Secret:
        _check_url(value, schemes, host_needed=False)
        return Secret(value)

    return parse


def _check_url(value: str, schemes: tuple[str, ...], *, host_needed: bool = True) -> None:
    try:
        parts = urlsplit(value)
        port_is_number = parts.port is None or parts.port >= 0
    except ValueError:
        port_is_number = False
    if not port_is_number or parts.scheme not in schemes or (host_needed and not parts.hostname):
        raise ValueError(
            f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        )


def named_secrets(value: str) -> dict[str, Secret]:
    """`name=secret,name=secret`; names differ."""
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if not all(name.strip() and equals and held.strip() for name, equals, held in pairs):
        raise ValueError("must be name=secret pairs with commas between them")
    named = {name.strip(): Secret(held.strip()) for name, _, held in pairs}
    if len(named) != len(pairs):
        raise ValueError("names something twice")
    return named
