"""A multinomial logistic model over terms: 14 tasks, a few hundred kilobytes, tens of microseconds."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from services.router.domain.learning.encoder import softmax
from services.router.domain.learning.text import FloatArray
from services.router.domain.task_belief.belief import TASKS, UNKNOWN, Hints, TaskBelief, adjusted
from services.router.domain.task_belief.terms import BUCKETS, FEATURES, Features, terms

FORMAT = "turnpike-tasks/1"
BYTES_MAX = 1_000_000
EVIDENCE_MIN = (
    0.45  # a likeliest task below this probability is no answer; found by cross-validation in training.
)


class ClassifierError(ValueError):
    """The file is no classifier of this version, or is damaged."""


@dataclass(frozen=True, slots=True)
class TaskClassifier:
    """weights: (FEATURES, tasks); offset: (tasks,), both already divided by the calibrated temperature."""

    weights: FloatArray
    offset: FloatArray
    version: str = "untrained"

    def classify(self, text: str, hints: Hints | None = None) -> TaskBelief:
        """What the request is, as probabilities over TASKS; `unknown` is one of them.

        Where the words do not favour one task enough, the doubt goes to `unknown`: its probability is then the largest.
        """
        hints = hints or Hints()
        belief = dict(zip(TASKS, self.probabilities(terms(text, hints.instructions)), strict=True))
        return doubted(adjusted(belief, hints))

    def probabilities(self, features: Features) -> list[float]:
        """Probabilities over TASKS as the words alone suggest."""
        buckets, counts = features
        rows = np.array([*buckets, *counts], np.intp)
        amounts = np.empty(len(rows), np.float32)
        amounts.fill(1.0 / max(len(buckets), 1) ** 0.5)
        amounts[len(buckets) :] = list(counts.values())
        scores = (amounts @ self.weights.take(rows, axis=0) + self.offset).tolist()
        # Fourteen numbers: plain arithmetic is quicker than arrays.
        largest = max(scores)
        odds = [exp(score - largest) for score in scores]
        total = sum(odds)
        return [each / total for each in odds]

    def to_bytes(self) -> bytes:
        """The file's content."""
        document = {"format": FORMAT, "tasks": list(TASKS), "buckets": BUCKETS, "version": self.version}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            weights=self.weights.astype(np.float16),
            offset=self.offset.astype(np.float32),
            document=np.frombuffer(json.dumps(document).encode(), dtype=np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "TaskClassifier":
        """Raises ClassifierError on anything that is no classifier of this version."""
        if len(content) > BYTES_MAX:
            raise ClassifierError(f"a classifier has at most {BYTES_MAX} bytes, this has {len(content)}")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                document = json.loads(archive["document"].tobytes())
                weights = archive["weights"].astype(np.float32)
                offset = archive["offset"].astype(np.float32)
        except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ClassifierError(f"not a classifier: {error}") from error
        if document.get("format") != FORMAT or tuple(document["tasks"]) != TASKS:
            raise ClassifierError("the classifier is of another version than this engine")
        if weights.shape != (FEATURES, len(TASKS)):
            raise ClassifierError("the classifier was trained on other terms than this engine reads")
        return cls(weights, offset, str(document["version"]))


def doubted(belief: dict[str, float]) -> TaskBelief:
    """Moves doubt to `unknown`: if no task reaches EVIDENCE_MIN, `unknown` takes half of everything."""
    best = max(belief.values())
    if best >= EVIDENCE_MIN or best == belief.get(UNKNOWN):
        return belief
    halved = {task: probability / 2 for task, probability in belief.items()}
    halved[UNKNOWN] = halved.get(UNKNOWN, 0.0) + 0.5
    return halved


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled text; weight 1 is a natural prompt, benchmark questions weigh less."""

    text: str
    task: str
    weight: float = 1.0


RIDGE = 0.3
STEPS = 300
LEARNING_RATE = 0.15
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
FOLDS = 5


def train_classifier(
    examples: Sequence[Example], *, seed: int = 0, version: str = "untrained"
) -> TaskClassifier:
    """Fits the logistic model and calibrates its temperature out of sample. Deterministic; some ten seconds."""
    random = np.random.default_rng(seed)
    label = np.array([TASKS.index(example.task) for example in examples])
    weight = np.array([example.weight for example in examples], dtype=np.float32)
    matrix = np.zeros((len(examples), FEATURES), dtype=np.float32)
    for row, example in enumerate(examples):
        buckets, counts = terms(example.text)
        matrix[row, buckets] = 1.0 / max(len(buckets), 1) ** 0.5
        matrix[row, list(counts)] = list(counts.values())
    used = np.flatnonzero(matrix.any(axis=0))
    inputs = matrix[:, used]
    fold = random.permutation(np.arange(len(examples)) % FOLDS)
    scores = np.zeros((len(examples), len(TASKS)), dtype=np.float32)
    for held in range(FOLDS):
        inside = fold != held
        weights, offset = _fit(inputs[inside], label[inside], weight[inside])
        scores[~inside] = inputs[~inside] @ weights + offset
    natural = weight >= 1.0

    def surprise(temperature: float) -> float:
        likely = softmax(scores / np.float32(temperature))[np.arange(len(label)), label]
        return float(-(np.log(likely + 1e-9))[natural].mean())

    temperature = min(TEMPERATURES, key=surprise)
    weights, offset = _fit(inputs, label, weight)
    full = np.zeros((FEATURES, len(TASKS)), dtype=np.float32)
    full[used] = weights / temperature
    return TaskClassifier(full, (offset / temperature).astype(np.float32), version)


def _fit(dense: FloatArray, label: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted multinomial logistic regression by Adam on the whole batch."""
    target = np.eye(len(TASKS), dtype=np.float32)[label]
    weight = weight / weight.sum()
    parameters = np.zeros((dense.shape[1] + 1, len(TASKS)), dtype=np.float32)
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    for step in range(1, STEPS + 1):
        error = (softmax(dense @ parameters[:-1] + parameters[-1]) - target) * weight[:, None]
        gradient = np.vstack([dense.T @ error + RIDGE / len(dense) * parameters[:-1], error.sum(0)])
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        rate = LEARNING_RATE * (1 - step / (STEPS + 1))
        parameters -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return parameters[:-1], parameters[-1]
