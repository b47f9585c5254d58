"""What a field may hold. Everything that is wrong with a request is found before it is refused.

A check takes a field's path and its value and gives the value back, normalised; what is wrong it notes in `Checks`.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import TypeVar
from zoneinfo import available_timezones

from services.budget.domain.budgets import LIMIT_MAX
from services.kernel.errors import FieldViolation, InvalidRequest
from services.kernel.ids import Id
from services.kernel.model_ref import ModelRef

NAME_LENGTH_MAX = 128
REASON_LENGTH_MAX = 500
DATA_CLASS_LENGTH_MAX = 64
MODEL_PATTERNS_MAX = 100
PPM = 1_000_000

AnyId = TypeVar("AnyId", bound=Id)

_DATA_CLASS = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MODEL_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:*@-]*(/[A-Za-z0-9*][A-Za-z0-9._:*/@-]*)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


@cache
def time_zones() -> frozenset[str]:
    """The names of the IANA time zones that this machine, or the tzdata package, knows."""
    return frozenset(available_timezones())


class Checks:
    """Collects what is wrong with one request."""

    def __init__(self) -> None:
        self.found: list[FieldViolation] = []

    def wrong(self, field: str, description: str) -> None:
        """Notes that `field` is wrong."""
        self.found.append(FieldViolation(field, description))

    def require(self, holds: bool, field: str, description: str) -> None:
        """Notes that `field` is wrong unless something holds."""
        if not holds:
            self.wrong(field, description)

    def done(self) -> None:
        """Raises InvalidRequest if anything is wrong."""
        if self.found:
            raise InvalidRequest(tuple(self.found))

    def id(self, field: str, kind: type[AnyId], text: str) -> AnyId:
        """A required id of some kind."""
        if not text:
            self.wrong(field, "is required")
        elif not kind.pattern.fullmatch(text):
            self.wrong(field, f"is not {kind.described}")
        return kind(text)

    def optional_id(self, field: str, kind: type[AnyId], text: str) -> AnyId | None:
        """An id that may be left empty."""
        return self.id(field, kind, text) if text else None

    def line(self, field: str, text: str, *, length_max: int = NAME_LENGTH_MAX) -> str:
        """A required line for people."""
        text = text.strip()
        self.require(0 < len(text) <= length_max, field, f"must have 1 to {length_max} characters")
        self.require(not _UNPRINTABLE.search(text), field, "must be one line without control characters")
        return text

    def data_class(self, field: str, text: str) -> str:
        """A class of data, or none."""
        good = not text or (len(text) <= DATA_CLASS_LENGTH_MAX and _DATA_CLASS.fullmatch(text) is not None)
        self.require(
            good, field, f"must be at most {DATA_CLASS_LENGTH_MAX} lower-case letters, digits, `-` and `_`"
        )
        return text

    def time_zone(self, field: str, text: str, *, default: str = "UTC") -> str:
        """A time zone's IANA name."""
        zone = text or default
        self.require(
            zone in time_zones() or not zone,
            field,
            f"{zone!r} is not an IANA time zone such as Europe/Vienna",
        )
        return zone

    def ppm(self, field: str, value: int) -> int:
        """Parts per million."""
        self.require(0 <= value <= PPM, field, f"must be 0 to {PPM}")
        return value

    def amount(self, field: str, value: int, *, least: int = 0) -> int:
        """An amount in some unit."""
        self.require(least <= value <= LIMIT_MAX, field, f"must be {least} to {LIMIT_MAX}")
        return value

    def model(self, field: str, text: str) -> str:
        """A required model, as "provider/model"."""
        try:
            ModelRef.parse(text)
        except ValueError as error:
            self.wrong(field, str(error))
        return text

    def model_patterns(self, field: str, patterns: Iterable[str]) -> tuple[str, ...]:
        """Patterns of models, such as `openai/*`."""
        given = tuple(patterns)
        self.require(len(given) <= MODEL_PATTERNS_MAX, field, f"must be at most {MODEL_PATTERNS_MAX}")
        for index, pattern in enumerate(given):
            good = len(pattern) <= NAME_LENGTH_MAX and _MODEL_PATTERN.fullmatch(pattern)
            self.require(bool(good), f"{field}[{index}]", "is not a pattern such as `openai/*`")
        return given
