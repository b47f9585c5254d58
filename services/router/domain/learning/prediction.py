"""Predictions for a file of questions: what `turnpike route predict` writes."""

from collections.abc import Iterable, Iterator

from services.router.domain.learning.estimator import Estimator, safe
from services.router.domain.learning.outcomes import Question
from services.router.domain.learning.text import text_features

QUALITY_DIGITS = 6
COST_DIGITS = 12

Prediction = dict[str, object]


def predict(estimator: Estimator, questions: Iterable[Question]) -> Iterator[Prediction]:
    """One `{id, q: {model: quality}, c: {model: cost}}` per question, in order.

    q is the quality a router with a floor may count on (see `safe`); c is in USD and leaves out models whose cost was
    never recorded. A declared task is believed: one the prior never saw is unknown.
    """
    for question in questions:
        belief = None if question.task is None else {question.task: 1.0}
        estimate = estimator.estimate(belief, text_features(question.prompt), question.models)
        quality, cost = safe(estimate), estimate.cost
        yield {
            "id": question.id,
            "q": {
                model: round(float(value), QUALITY_DIGITS)
                for model, value in zip(question.models, quality, strict=True)
            },
            "c": {
                model: round(float(value), COST_DIGITS)
                for model, value in zip(question.models, cost, strict=True)
                if value == value
            },
        }
