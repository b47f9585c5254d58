"""Reads files of JSON lines, gzipped or not, for `turnpike route`."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.router.domain.learning.outcomes import Outcome, OutcomeError, Question, outcome_of, question_of

ROW_CHARS_MAX = 4_000_000  # longest line read; a prompt of a million tokens fits.


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file of JSON lines, gzipped or not, each with its line number."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as file
    ):
        number = 0
        while line := file.readline(ROW_CHARS_MAX + 1):
            number += 1
            if len(line) > ROW_CHARS_MAX:
                raise OutcomeError(f"{path}:{number}: longer than {ROW_CHARS_MAX} characters")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise OutcomeError(f"{path}:{number}: not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise OutcomeError(f"{path}:{number}: a row is an object")
            yield number, row


def read_outcomes(path: Path) -> list[Outcome]:
    """Rows to train on; an arm without quality is left out, a row without any arm too."""
    return [
        outcome for number, row in lines(path) if (outcome := outcome_of(row, f"{path}:{number}")) is not None
    ]


def read_questions(path: Path) -> Iterator[Question]:
    """Rows to predict; of arms only the names are taken."""
    for number, row in lines(path):
        yield question_of(row, f"{path}:{number}")
