"""What is frozen stays compatible with the committed baseline, and the check would notice if it did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house import ROOT

BUF = str(Path(sys.executable).with_name("buf"))


def frozen() -> list[str]:
    lines = (ROOT / "protos" / "frozen.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def breaking(folder: Path) -> str:
    """What buf says of the protos in `folder` against the committed baseline."""
    image = subprocess.run(
        [BUF, "build", "protos", "-o", "-"], cwd=folder, check=True, capture_output=True
    ).stdout
    paths = [word for package in frozen() for word in ("--path", package)]
    against = ["--against", str(ROOT / "protos" / "baseline.binpb")]
    done = subprocess.run(
        [BUF, "breaking", "-", *against, *paths],
        cwd=folder,
        input=image,
        capture_output=True,
        check=False,
    )
    return done.stdout.decode() + done.stderr.decode()


def test_frozen_packages_are_compatible() -> None:
    assert breaking(ROOT) == ""


@pytest.mark.parametrize("package", frozen())
def test_a_field_that_goes_is_noticed(package: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    broken = sorted((tmp_path / "protos" / package).glob("*.proto"))[0]
    lines = broken.read_text().splitlines(keepends=True)
    victim = next(
        number for number, line in enumerate(lines) if line.startswith("  string ") and " = 1;" in line
    )
    broken.write_text("".join(lines[:victim] + lines[victim + 1 :]))
    assert "was deleted" in breaking(tmp_path)
