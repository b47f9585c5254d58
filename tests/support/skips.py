"""A pytest plugin: where CI runs, a skip that tests/allowed_skips.txt does not allow fails the run.

A test that is skipped proves nothing, so the list is short and says why of each line.
"""

import fnmatch
import os
from pathlib import Path

import pytest

ALLOWED = Path(__file__).resolve().parents[1] / "allowed_skips.txt"
_found: list[tuple[str, str]] = []


def allowed_reasons(text: str) -> list[str]:
    """The patterns of a list: one a line, `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def forbidden(skips: list[tuple[str, str]], patterns: list[str]) -> list[tuple[str, str]]:
    """The skips (where, reason) whose reason no pattern matches."""
    return [skip for skip in skips if not any(fnmatch.fnmatchcase(skip[1], pattern) for pattern in patterns)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remembers skips; with pytest-xdist this runs where all reports come together."""
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        _found.append((report.nodeid, report.longrepr[2].removeprefix("Skipped: ")))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Remembers modules that were skipped whole."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _found.append((report.nodeid, report.longrepr[2].removeprefix("Skipped: ")))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails a run in CI that skipped what is not allowed."""
    if os.environ.get("CI") and not hasattr(session.config, "workerinput"):
        wrong = forbidden(_found, allowed_reasons(ALLOWED.read_text()))
        if wrong:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            for where, reason in wrong:
                print(f"\nskip that tests/allowed_skips.txt does not allow: {where}: {reason}")
