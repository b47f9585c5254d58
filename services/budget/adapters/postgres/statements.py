"""The named statements of sql/*.sql."""

import functools
from pathlib import Path

from services.chassis.queries import Queries

FOLDER = Path(__file__).parents[2] / "sql"


@functools.cache
def statements() -> Queries:
    """Each statement by its name."""
    return Queries(FOLDER)
