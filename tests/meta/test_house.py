"""Rules of the house that no linter knows."""

import re

from tests.support.house import ROOT, files, listed

LONG_FILES = ROOT / "tests/meta/long_files.txt"
LINES_MAX = 400  # what reads in one sitting, with some patience
# Folders of one machine; `/home/` and `/root/` also occur in container files, where they are the container's.
MACHINE_PATHS = re.compile(r"(?<![\w.}/])/(work/(main|shared)|tmp/[a-z]|root/\.|home/[a-z]+/)")


def test_files_read_in_one_sitting() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in files(
            "services/**/*.py", "tests/**/*.py", "clients/**/*.py", "bench/**/*.py", "tools/*.py"
        )
    }
    long, expected = {name for name, lines in lengths.items() if lines > LINES_MAX}, set(listed(LONG_FILES))
    assert not long - expected, f"longer than {LINES_MAX} lines: split them, or list them with the reason"
    assert not expected - long, "these are short enough now; take them off the list"


def test_nothing_names_a_folder_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".sql", ".proto", ".sh"}
        and path.name != "test_house.py"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not found, "\n".join(found)


def test_packages_are_packages() -> None:
    folders = {path.parent for path in files("services/**/*.py")}
    assert not [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files("services/*/__init__.py", "services/*/__main__.py", "services/*/README.md")
        if path.parent.parent.name == "services" and not path.read_text().strip()
    ]
    assert not silent
