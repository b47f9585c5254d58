"""Rows of recorded outcomes: what training reads, and the part of it that prediction may see."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class OutcomeError(ValueError):
    """A row is not what the contract says; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Question:
    """What prediction may see of a row: no outcome is in it."""

    id: str
    prompt: str
    models: tuple[str, ...]
    task: str | None = None  # None: not declared.


@dataclass(frozen=True, slots=True)
class Outcome:
    """One prompt with what several models made of it.

    arms: model → (quality in 0..1, cost in USD or None if none was recorded).
    """

    id: str
    prompt: str
    arms: dict[str, tuple[float, float | None]]
    task: str | None = None
    context: str = ""  # the set it was measured in; rows of one context are comparable.


def question_of(row: dict[str, Any], where: str) -> Question:
    """A row as prediction sees it: of `arms`, a list or an object, the names alone."""
    identifier, prompt = _text(row, "id", where), _text(row, "prompt", where)
    arms = row.get("arms")
    if not isinstance(arms, list | dict) or not arms or not all(isinstance(name, str) for name in arms):
        raise OutcomeError(f"{where}: `arms` lists the models, or is an object with the models as its keys")
    return Question(id=identifier, prompt=prompt, models=tuple(arms), task=_task(row, where))


def outcome_of(row: dict[str, Any], where: str) -> Outcome | None:
    """A row as training sees it; None if no arm of it has a quality."""
    question = question_of(row, where)
    if not isinstance(row["arms"], dict):
        raise OutcomeError(f"{where}: training needs outcomes: `arms` is {{model: [quality, cost]}}")
    arms: dict[str, tuple[float, float | None]] = {}
    for model, pair in row["arms"].items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise OutcomeError(f"{where}: the outcome of `{model}` is [quality, cost or null]")
        quality, cost = pair
        if quality is None:
            continue
        if not _number(quality) or not 0 <= quality <= 1:
            raise OutcomeError(f"{where}: the quality of `{model}` lies in 0..1, not {quality!r}")
        if cost is not None and (not _number(cost) or cost < 0):
            raise OutcomeError(f"{where}: the cost of `{model}` is USD or null, not {cost!r}")
        arms[model] = (float(quality), None if cost is None else float(cost))
    if not arms:
        return None
    context = row.get("set")
    return Outcome(
        question.id, question.prompt, arms, question.task, context if isinstance(context, str) else ""
    )


def distinct_prompts(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by prompt, spaces and case aside: what a split must keep on one side."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(normal(outcome.prompt), []).append(outcome)
    return found


def normal(prompt: str) -> str:
    """A prompt with spaces and case aside."""
    return " ".join(prompt.lower().split())


def _number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value == value
        and abs(value) < 1e12
    )


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise OutcomeError(f"{where}: `{key}` is a text")
    return value


def _task(row: dict[str, Any], where: str) -> str | None:
    task = row.get("task")
    if task is not None and not isinstance(task, str):
        raise OutcomeError(f"{where}: `task` is a text")
    return task or None
