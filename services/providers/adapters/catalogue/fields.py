"""Takes typed fields out of parsed data and notes every problem with its place, so that all are told at once."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

PROBLEMS_MAX = 200
"""More would not be read; the rest are counted."""


class Problems:
    """Collects problems of one reading."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.more = 0

    def note(self, place: str, problem: str) -> None:
        """Adds a problem, up to PROBLEMS_MAX of them."""
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(f"{place}: {problem}")
        else:
            self.more += 1

    def all(self) -> list[str]:
        """What was found, with a last line for what did not fit."""
        return [*self.found, f"and {self.more} more"] if self.more else list(self.found)


class Table:
    """One table of parsed data. Every field is taken once; what is left at the end is an unknown field."""

    def __init__(self, data: Any, place: str, problems: Problems) -> None:
        self._place = place
        self._problems = problems
        if not isinstance(data, Mapping):
            problems.note(place, "is not a table")
            data = {}
        self._left = dict(data)

    @property
    def place(self) -> str:
        """Where the table is, for people."""
        return self._place

    def problem(self, name: str, problem: str) -> None:
        """Notes a problem of a field."""
        self._problems.note(f"{self._place}: {name}" if name else self._place, problem)

    @property
    def is_empty(self) -> bool:
        """True if nothing is left in it."""
        return not self._left

    def renamed(self, place: str) -> "Table":
        """The rest of the table under a place that says more."""
        table = Table({}, f"{self._place.partition(':')[0]}: {place}", self._problems)
        table._left = self._left
        return table

    def _take(self, name: str, kind: type, wanted: str) -> Any:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if type(value) is not kind:
            self.problem(name, f"is not {wanted}")
            return None
        return value

    def text(self, name: str, *, required: bool = False) -> str:
        """A text; empty if absent."""
        value: str | None = self._take(name, str, "text")
        if required and not value:
            self.problem(name, "is missing")
        return value or ""

    def count(self, name: str, *, least: int = 0) -> int | None:
        """A whole number of at least `least`; None if absent."""
        value: int | None = self._take(name, int, "a whole number")
        if value is not None and value < least:
            self.problem(name, f"is less than {least}")
            return None
        return value

    def number(self, name: str) -> float | None:
        """A number above 0, whole or not; None if absent."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            self.problem(name, "is not a number above 0")
            return None
        return float(value)

    def day(self, name: str) -> date | None:
        """A date; None if absent."""
        value: date | None = self._take(name, date, "a date such as 2026-11-24")
        return value

    def moment(self, name: str) -> datetime | None:
        """A date with time and zone; None if absent."""
        value: datetime | None = self._take(name, datetime, "a time such as 2026-11-24T00:00:00Z")
        if value is not None and value.tzinfo is None:
            self.problem(name, "has no time zone")
            return None
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty if absent."""
        value = self._take(name, list, "a list")
        if value is None:
            return ()
        if not all(isinstance(item, str) and item for item in value):
            self.problem(name, "is not a list of texts")
            return ()
        return tuple(value)

    def mapping(self, name: str, kind: type) -> dict[str, Any]:
        """A table whose values are all of one kind; empty if absent. Whole numbers pass as fractions."""
        value = self._take(name, dict, "a table")
        kinds = (int, float) if kind is float else (kind,)
        found: dict[str, Any] = {}
        for key, item in (value or {}).items():
            if type(item) not in kinds:
                self.problem(f"{name}.{key}", f"is not of the kind {kind.__name__}")
            else:
                found[key] = kind(item)
        return found

    def table(self, name: str) -> "Table":
        """A table within; an empty one if absent."""
        return Table(self._left.pop(name, {}), f"{self._place}: {name}", self._problems)

    def tables(self, name: str) -> Iterator["Table"]:
        """A list of tables within; none if absent."""
        value = self._take(name, list, "a list of tables")
        for position, item in enumerate(value or ()):
            yield Table(item, f"{self._place}: {name}[{position}]", self._problems)

    def close(self) -> None:
        """Notes the fields nobody took: a misspelt fact would otherwise be silently unknown."""
        for name in self._left:
            self.problem(name, "is not a known field")
