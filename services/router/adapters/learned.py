"""Loads what was learned offline and ships with the router: the classifier of tasks and the prior of models' qualities.

Where no classifier is shipped the belief rests on metadata alone: what the caller declares, or `unknown`. Where no
prior is, qualities are the catalogue's. A file that cannot be read is logged and counts as none.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from services.router.domain.estimates import UNKNOWN_TASK, CataloguePriors, Estimator, TaskProbabilities
from services.router.domain.features import Features, Wishes
from services.router.domain.learning.prior import PriorError, from_bytes
from services.router.domain.task_belief import ClassifierError, Hints, TaskClassifier
from services.router.domain.trained import TrainedExpectations

DATA = Path(__file__).parent.parent / "data"
CLASSIFIER_FILE = "tasks.npz"
PRIOR_FILE = "prior.npz"
VERSION_DIGITS = 12  # of the SHA-256 of a prior's content: enough to tell priors apart.

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


def open_prior(folder: Path = DATA) -> Estimator:
    """The shipped prior beside the catalogue's qualities, or those alone."""
    file = folder / PRIOR_FILE
    try:
        return expectations_of(file.read_bytes())
    except FileNotFoundError:
        log.info("no prior", file=file.name)
    except PriorError as error:
        log.error("prior unusable", file=file.name, why=str(error))
    return CataloguePriors()


def expectations_of(content: bytes) -> TrainedExpectations:
    """The expectations of a prior's file. Raises PriorError."""
    return TrainedExpectations(from_bytes(content), version_of(content))


def version_of(content: bytes) -> str:
    """Names a prior by its content."""
    return hashlib.sha256(content).hexdigest()[:VERSION_DIGITS]
