"""What kind of work a request is: a calibrated belief over natural tasks, with a real "unknown".

Metadata first (a declared task, a schema, tools, length), then words. Only a bounded head and tail of the text is read.
"""

from services.router.domain.task_belief.belief import TASKS, UNKNOWN, Hints, TaskBelief, likeliest
from services.router.domain.task_belief.classifier import ClassifierError, TaskClassifier

__all__ = ["TASKS", "UNKNOWN", "ClassifierError", "Hints", "TaskBelief", "TaskClassifier", "likeliest"]
