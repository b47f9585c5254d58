"""What a field of a policy document may hold: readers of YAML nodes, each telling what is wrong at which line."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.kernel.money import Money
from services.router.domain import patterns

PROBLEMS_MAX = 50
ITEMS_MAX = 200
WORD_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Something wrong with a document."""

    line: int
    """From 1; 0: the document as a whole."""
    column: int
    path: str
    """Such as `quality.tasks.code`."""
    message: str
    warning: bool = False


@dataclass(slots=True)
class Reader:
    """Gathers what is wrong with a document while it is read."""

    problems: list[PolicyProblem] = field(default_factory=list)

    def problem(self, node: yaml.Node, path: str, message: str, *, warning: bool = False) -> None:
        """Something is wrong at a node; a warning does not keep the document from being put in force."""
        if len(self.problems) < PROBLEMS_MAX:
            mark = node.start_mark
            self.problems.append(PolicyProblem(mark.line + 1, mark.column + 1, path, message, warning))


Read = Callable[[Reader, yaml.Node, str], Any]
"""Reads one node; tells what is wrong and then returns None."""


def mapping(reader: Reader, node: yaml.Node, path: str, fields: Mapping[str, Read]) -> dict[str, Any]:
    """A mapping of known fields; unknown ones are told with the nearest known name."""
    if not isinstance(node, yaml.MappingNode):
        reader.problem(node, path, "It must be a mapping of fields to values.")
        return {}
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
        at = f"{path}.{name}" if path else str(name)
        read = fields.get(name)
        if read is None:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(fields))}."
            reader.problem(key_node, at, f"There is no field `{name}` here{hint}")
            continue
        if name in found:
            reader.problem(key_node, at, f"`{name}` is there twice.")
        value = read(reader, value_node, at)
        if value is not None:
            found[name] = value
    return found


def fields_of(fields: Mapping[str, Read]) -> Read:
    """Reads a mapping of these fields."""
    return lambda reader, node, path: mapping(reader, node, path, fields)


def scalar(reader: Reader, node: yaml.Node, path: str, what: str) -> str | None:
    """The text of a single value."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    reader.problem(node, path, f"It must be {what}.")
    return None


def number(low: float, high: float, *, above: bool = False) -> Read:
    """Reads a number between `low` and `high`; `above`: not `low` itself."""

    def read(reader: Reader, node: yaml.Node, path: str) -> float | None:
        text = scalar(reader, node, path, "a number")
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high or (above and number == low):
            bound = f"above {low:g} and up to {high:g}" if above else f"{low:g} to {high:g}"
            reader.problem(node, path, f"It must be a number, {bound}; it is `{text[:40]}`.")
            return None
        return number

    return read


def whole(low: int, high: int) -> Read:
    """Reads a whole number between `low` and `high`."""

    def read(reader: Reader, node: yaml.Node, path: str) -> int | None:
        text = scalar(reader, node, path, "a whole number")
        if text is None:
            return None
        digits = text.replace("_", "")
        if not digits.isascii() or not digits.isdigit() or not low <= int(digits) <= high:
            reader.problem(node, path, f"It must be a whole number, {low} to {high}; it is `{text[:40]}`.")
            return None
        return int(digits)

    return read


def yes_no(reader: Reader, node: yaml.Node, path: str) -> bool | None:
    """Reads true or false."""
    text = scalar(reader, node, path, "true or false")
    if text not in ("true", "false"):
        if text is not None:
            reader.problem(node, path, f"It must be true or false; it is `{text[:40]}`.")
        return None
    return text == "true"


def money(reader: Reader, node: yaml.Node, path: str) -> Money | None:
    """Reads an amount in dollars."""
    text = scalar(reader, node, path, "an amount in dollars")
    if text is None:
        return None
    try:
        money = Money.parse(text)
    except ValueError as error:
        reader.problem(node, path, f"It {error}.")
        return None
    if money.nanos < 0:
        reader.problem(node, path, "It must not be negative.")
        return None
    return money


def choice(options: Mapping[str, Any]) -> Read:
    """Reads one of these words; gives what it stands for."""

    def read(reader: Reader, node: yaml.Node, path: str) -> Any:
        text = scalar(reader, node, path, f"one of {', '.join(options)}")
        if text is not None and text not in options:
            reader.problem(node, path, f"`{text[:40]}` is none of {', '.join(options)}.")
            return None
        return options.get(text) if text is not None else None

    return read


def word(reader: Reader, node: yaml.Node, path: str) -> str | None:
    """Reads a short text."""
    text = scalar(reader, node, path, "a word")
    if text is not None and not 0 < len(text) <= WORD_LENGTH_MAX:
        reader.problem(node, path, f"It must have 1 to {WORD_LENGTH_MAX} characters.")
        return None
    return text


def pattern(reader: Reader, node: yaml.Node, path: str) -> str | None:
    """Reads a pattern of models."""
    text = scalar(reader, node, path, "a pattern of models")
    wrong = patterns.problem(text) if text is not None else None
    if wrong:
        reader.problem(node, path, wrong)
        return None
    return text


def model_name(reader: Reader, node: yaml.Node, path: str) -> str | None:
    """Reads the name of one model."""
    text = scalar(reader, node, path, "a model")
    if text is None:
        return None
    provider, slash, name = text.partition("/")
    if not (provider and slash and name) or "*" in text or ":" in provider:
        reader.problem(node, path, f"It must be one model, `provider/model`; it is `{text[:40]}`.")
        return None
    return text


def list_of(read_item: Read) -> Read:
    """Reads a list of such items."""

    def read(reader: Reader, node: yaml.Node, path: str) -> tuple[Any, ...] | None:
        if not isinstance(node, yaml.SequenceNode):
            reader.problem(node, path, "It must be a list.")
            return None
        if len(node.value) > ITEMS_MAX:
            reader.problem(node, path, f"It has at most {ITEMS_MAX} items.")
            return None
        items = [read_item(reader, item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        return tuple(item for item in items if item is not None)

    return read


def by_name(read_value: Read) -> Read:
    """Reads a mapping of free names to such values."""

    def read(reader: Reader, node: yaml.Node, path: str) -> dict[str, Any] | None:
        if not isinstance(node, yaml.MappingNode):
            reader.problem(node, path, "It must be a mapping of names to values.")
            return None
        found: dict[str, Any] = {}
        for key_node, value_node in node.value[:ITEMS_MAX]:
            name = word(reader, key_node, path)
            if name is not None:
                value = read_value(reader, value_node, f"{path}.{name}")
                if value is not None:
                    found[name] = value
        return found

    return read
