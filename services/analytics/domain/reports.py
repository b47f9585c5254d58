"""What reports say: money that bought nothing, and what the same tokens would have cost elsewhere."""

from dataclasses import dataclass

from services.kernel.errors import InvalidRequest

REPORT_ROWS_MAX = 10_000
"""More groups than anybody reads; an answer has them all at once."""


@dataclass(frozen=True, slots=True)
class WasteRow:
    """One kind of waste in one group."""

    group: tuple[str, ...]
    kind: str
    """As reports.sql names them."""
    cost_nanos: int
    attempts: int


def check_size(rows: int, rows_max: int) -> None:
    """Raises InvalidRequest for a report of too many rows."""
    if rows > rows_max:
        raise InvalidRequest.of(
            "group_by", f"makes more than {rows_max} rows here; narrow the scope, or tell less apart"
        )
