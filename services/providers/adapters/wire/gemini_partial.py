"""Arguments of a Gemini call that come as values by their places (`partialArgs`), put together as one object."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from services.providers.adapters.wire.body import encode_text, obj, text

LIST_INDEX_MAX: Final = 10_000
"""A place further on in a list is a mistake: the list before it would be filled with nulls."""

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\[['\"]([^'\"\]]*)['\"]\]")


class PartialArguments:
    """One call's arguments while they come. Pieces of a text at one place are appended."""

    __slots__ = ("_root", "call")

    def __init__(self, call: int) -> None:
        self.call = call
        """Our number of the call."""
        self._root: dict[str, Any] = {}

    def add(self, pieces: Iterable[Any]) -> None:
        """Takes some; one without a place that can be, or without a value, is passed over."""
        for piece in pieces:
            steps = _steps(text(obj(piece).get("jsonPath")))
            if steps:
                _put(self._root, steps, obj(piece))

    def json(self) -> str:
        """What has come, as JSON text."""
        return encode_text(self._root)


def _steps(path: str) -> list[str | int]:
    if not path.startswith("$"):
        return []
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None or (step[2] and int(step[2]) > LIST_INDEX_MAX):
            return []
        steps.append(int(step[2]) if step[2] else step[1] or step[3] or "")
        position = step.end()
    return steps


def _put(root: dict[str, Any], steps: list[str | int], piece: Mapping[str, Any]) -> None:
    place: Any = root
    for step, following in pairwise(steps):
        inner = _at(place, step)
        if not isinstance(inner, dict | list):
            inner = [] if isinstance(following, int) else {}
            _set(place, step, inner)
        place = inner
    last = steps[-1]
    if isinstance(piece.get("stringValue"), str):
        before = _at(place, last)
        _set(place, last, (before if isinstance(before, str) else "") + piece["stringValue"])
    elif "numberValue" in piece:
        _set(place, last, piece["numberValue"])
    elif "boolValue" in piece:
        _set(place, last, piece["boolValue"])
    elif "nullValue" in piece:
        _set(place, last, None)


def _at(place: Any, step: str | int) -> Any:
    if isinstance(place, list):
        return place[step] if isinstance(step, int) and step < len(place) else None
    return place.get(step)


def _set(place: Any, step: str | int, value: Any) -> None:
    if not isinstance(place, list):
        place[step] = value
    elif isinstance(step, int):
        place.extend([None] * (step + 1 - len(place)))
        place[step] = value
