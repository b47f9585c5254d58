"""Patterns that name models: `openai/gpt-4o`, `openai/*`, `*`, `group:small`, `provider:openai`.

Grants, keys, policies, aliases and callers all use this one language. `*` stands for any run of characters, also
slashes; everything else is literal, so no pattern is slow and none can be a regular expression that never ends.
"""

import re
from functools import lru_cache

from services.router.domain.catalogue import ModelFacts

PATTERN_LENGTH_MAX = 264
"""A provider and a model at their longest, and a slash."""

PATTERNS_KEPT = 4_096
"""Compiled patterns that are remembered; grants and policies repeat a few hundred."""

_WELL_FORMED = re.compile(r"(?:group:|provider:|(?!group:|provider:))[A-Za-z0-9*][A-Za-z0-9\-_.:@/+*]*")


def problem(pattern: str) -> str | None:
    """What is wrong with a pattern, as a sentence; None if it is well formed."""
    if not pattern:
        return "A pattern is not empty; `*` stands for every model."
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"A pattern has at most {PATTERN_LENGTH_MAX} characters."
    if not _WELL_FORMED.fullmatch(pattern):
        return f"`{pattern}` is no pattern: write `provider/model`, `provider/*`, `group:name`, `provider:name` or `*`."
    return None


def matches(pattern: str, model: ModelFacts) -> bool:
    """True if the pattern names the model. A malformed pattern names nothing."""
    if pattern == "*":
        return True
    kind, colon, name = pattern.partition(":")
    if colon and kind == "group":
        return name in model.groups
    if colon and kind == "provider":
        return _literal_or_wildcard(name)(model.provider)
    return _literal_or_wildcard(pattern)(model.model)


def any_matches(patterns: tuple[str, ...] | frozenset[str], model: ModelFacts) -> bool:
    """True if one of the patterns names the model."""
    return any(matches(pattern, model) for pattern in patterns)


class _Literal:
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, name: str) -> bool:
        return name == self._text


class _Pieces:
    """Pieces that must occur in order, the first at the start and the last at the end: linear, no backtracking."""

    __slots__ = ("_first", "_last", "_middle")

    def __init__(self, pattern: str) -> None:
        self._first, *self._middle, self._last = pattern.split("*")

    def __call__(self, name: str) -> bool:
        if not name.startswith(self._first):
            return False
        at = len(self._first)
        for piece in self._middle:
            at = name.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return len(name) - at >= len(self._last) and name.endswith(self._last)


@lru_cache(maxsize=PATTERNS_KEPT)
def _literal_or_wildcard(pattern: str) -> _Literal | _Pieces:
    return _Pieces(pattern) if "*" in pattern else _Literal(pattern)
