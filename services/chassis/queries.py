"""SQL in files: named statements, each with a sentence that says what it does.

-- name: find_key
-- The key with this hash; no row if there is none.
SELECT key_id FROM api_key WHERE secret_hash = $1;
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"-- name: ([a-z][a-z0-9_]*)\s*$")


class Queries(Mapping[str, str]):
    """Statements by name, from every `*.sql` of a folder (not of its subfolders)."""

    def __init__(self, statements: Mapping[str, str]) -> None:
        self._statements = dict(statements)

    @classmethod
    def load(cls, folder: Path) -> "Queries":
        """Reads the folder's files; raises ValueError for a name used twice, or without a sentence or a statement."""
        statements: dict[str, str] = {}
        for file in sorted(folder.glob("*.sql")):
            for name, text in _parts(file):
                if name in statements:
                    raise ValueError(f"{file.name}: the name {name} is used twice")
                statements[name] = text
        return cls(statements)

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def _parts(file: Path) -> Iterator[tuple[str, str]]:
    name, lines = "", list[str]()
    for line in [*file.read_text().splitlines(), "-- name: end"]:
        match = _NAME.match(line)
        if match is None:
            lines.append(line)
            continue
        if name:
            yield name, _statement(file, name, lines)
        name, lines = match[1], []


def _statement(file: Path, name: str, lines: list[str]) -> str:
    if not lines or not lines[0].startswith("-- "):
        raise ValueError(f"{file.name}: {name} needs a sentence that says what it does")
    statement = "\n".join(line for line in lines if not line.startswith("--")).strip().removesuffix(";")
    if not statement:
        raise ValueError(f"{file.name}: {name} has no statement")
    return statement
