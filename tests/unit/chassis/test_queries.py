from pathlib import Path

import pytest

from services.chassis.migrations import load
from services.chassis.queries import Queries


def test_statements_have_names(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- about the file\n\n-- name: one\n-- Selects one.\nSELECT 1;\n")
    (tmp_path / "b.sql").write_text("-- name: two\n-- Selects two.\nSELECT 2")
    queries = Queries(tmp_path)
    assert list(queries) == ["one", "two"]
    assert queries["one"].endswith("SELECT 1")
    with pytest.raises(KeyError):
        queries["three"]


@pytest.mark.parametrize(
    "text", ["-- name: one\nSELECT 1;", "-- name: one\n-- It.\nSELECT 1;\n-- name: one\n-- It.\nSELECT 2"]
)
def test_files_that_are_not_clear_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.sql").write_text(text)
    with pytest.raises(ValueError, match="exists already|does not say"):
        Queries(tmp_path)


@pytest.mark.parametrize("names", [["first.sql"], ["0001_a.sql", "0001_b.sql"]])
def test_migrations_are_numbered(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(ValueError, match="not named|already"):
        load(tmp_path)
