"""The production lock is a part of the one lock: same versions, same hashes, nothing of development in it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[tuple[str, str], set[str]]:
    """Hashes by name and version, with the marker if there is one."""
    found: dict[tuple[str, str], set[str]] = {}
    current: set[str] = set()
    for line in (ROOT / name).read_text().splitlines():
        if match := re.match(r"([a-z0-9.-]+)==([^ ;]+)", line):
            current = found.setdefault((match[1], match[2]), set())
        current.update(re.findall(r"--hash=(\S+)", line))
    return found


def names(requirements: list[object]) -> set[str]:
    return {
        re.split(r"[<>=;\[ ]", entry, maxsplit=1)[0].lower().replace("_", "-")
        for entry in requirements
        if isinstance(entry, str)
    }


def test_production_runs_exactly_what_is_tested() -> None:
    whole, runtime = pins("requirements.lock"), pins("requirements-runtime.lock")
    assert {key: whole.get(key) for key in runtime} == runtime


def test_production_has_what_the_project_needs_and_nothing_of_its_development() -> None:
    installed = {name for name, _ in pins("requirements-runtime.lock")}
    needed = names(PROJECT["project"]["dependencies"]) | names(PROJECT["dependency-groups"]["build"])
    assert needed <= installed
    for group in (PROJECT["dependency-groups"]["dev"], PROJECT["project"]["optional-dependencies"]["local"]):
        assert not (names(group) - needed) & installed


def test_the_image_is_built_from_it() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements-runtime.lock" in text
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        top = package.split("/")[0]
        assert f"COPY {top} {top}" in text, f"{package} is not in the image"
