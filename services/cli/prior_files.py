"""Trains, reads and writes files of priors, for `turnpike route`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import click

from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import Prior, from_bytes
from services.router.domain.learning.promotion import FLOOR, JUDGED, Verdict, judge_by_time, to_provenance
from services.router.domain.learning.training import train

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
VERSION_DIGITS = 12  # of the SHA-256 of the training file: enough to tell priors apart.


def judged_prior(
    rows: Sequence[Outcome], *, seed: int, version: str, floor: float = FLOOR
) -> tuple[Prior, Verdict]:
    """A prior of all rows, which carries how one of the earlier rows did on the later ones."""
    verdict = judge_by_time(rows, lambda earlier: train(earlier, seed=seed), floor=floor)
    # An application's own outcomes are on the scale that its floors are meant on; see domain/trained.py.
    provenance = {"version": version, "scale_deviation": 0.0, JUDGED: to_provenance(verdict, floor)}
    return train(rows, seed=seed, provenance=provenance), verdict


def read_prior(path: Path) -> Prior:
    """The prior in a file; PriorError if there is none in it."""
    return from_bytes(path.read_bytes())


def write_whole(path: Path, content: bytes) -> int:
    """Writes a file whole or not at all; returns its bytes."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return len(content)


def digest(path: Path) -> str:
    """Names a file by its content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:VERSION_DIGITS]
