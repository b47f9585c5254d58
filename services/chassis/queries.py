"""SQL is SQL: named statements from a service's sql/*.sql.

    -- name: find_entry
    -- The newest entry of a key. Locks nothing.
    SELECT … WHERE key_id = $1;

Every statement has a name of its own and says in a sentence what it does; that is checked when they are loaded.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"^-- name: *(\S+) *$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """Statements by name. Raises ValueError when made of files that name one twice, or do not say what one does."""

    def __init__(self, folder: Path) -> None:
        self._statements: dict[str, str] = {}
        for file in sorted(folder.glob("*.sql")):
            _, *parts = _NAME.split(file.read_text())
            for name, body in zip(parts[::2], parts[1::2], strict=True):
                statement = body.strip()
                if name in self._statements:
                    raise ValueError(f"{file.name}: {name} exists already")
                if not statement.startswith("--"):
                    raise ValueError(f"{file.name}: {name} does not say what it does")
                self._statements[name] = statement.removesuffix(";")

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)
