"""The committed stubs are exactly what the protos generate."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(120)
def test_committed_stubs_are_what_the_protos_generate() -> None:
    check = subprocess.run(
        [sys.executable, "tools/generate_stubs.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert check.returncode == 0, f"run `make gen` and commit gen/:\n{check.stdout}{check.stderr}"
