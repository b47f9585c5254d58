"""Loads what was learned offline and ships with the router: the classifier of tasks.

Where no file is shipped the belief rests on metadata alone: what the caller declares, or `unknown`.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from services.router.domain.estimates import UNKNOWN_TASK, TaskProbabilities
from services.router.domain.features import Features, Wishes
from services.router.domain.task_belief import ClassifierError, Hints, TaskClassifier

DATA = Path(__file__).parent.parent / "data"
CLASSIFIER_FILE = "tasks.npz"

Classify = Callable[[str, str, Features, Wishes], TaskProbabilities]

log = structlog.get_logger()


def open_classifier(folder: Path = DATA) -> Classify:
    """The shipped classifier, or the one that only believes what it is told."""
    file = folder / CLASSIFIER_FILE
    try:
        classifier = TaskClassifier.from_bytes(file.read_bytes())
    except FileNotFoundError:
        log.info("no task classifier", file=file.name)
        return by_declaration
    except ClassifierError as error:
        log.error("task classifier unusable", file=file.name, why=str(error))
        return by_declaration

    def classify(instructions: str, newest: str, features: Features, wishes: Wishes) -> TaskProbabilities:
        hints = Hints(
            task=wishes.task,
            instructions=instructions,
            schema=features.json_schema,
            tools=features.tools > 0,
            input_tokens=features.input_tokens_estimate,
        )
        return classifier.classify(newest, hints)

    return classify


def by_declaration(instructions: str, newest: str, features: Features, wishes: Wishes) -> TaskProbabilities:
    """The task that the caller declares, or the unknown."""
    return {wishes.task or UNKNOWN_TASK: 1.0}
