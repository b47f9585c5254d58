"""The named statements of sql/queries.sql."""

import functools
from pathlib import Path

FILE = Path(__file__).parents[2] / "sql" / "queries.sql"


@functools.cache
def statements() -> dict[str, str]:
    """Each statement by its name, without the comments above it."""
    found: dict[str, str] = {}
    for part in FILE.read_text().split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        found[name.strip()] = "\n".join(lines).strip().rstrip(";")
    return found
