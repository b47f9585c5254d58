"""Says which known models an unseen name resembles, so that a renamed or new model gets a sensible start."""

import re
from collections.abc import Sequence
from functools import lru_cache
from math import exp, log

import numpy as np

from services.router.domain.learning.text import FloatArray

RESEMBLANCE_SHARPNESS = 6.0  # a name sharing all words outweighs one sharing none by e^6, about 400.
SIZE_WORTH = 0.35  # of full resemblance, for the same size under an unrelated name.
SAME_MODEL = 0.75  # share of words from which two names are taken to mean the same model.

_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b")
_DATE = re.compile(r"\d{4,8}")
_IDLE_WORDS = frozenset(
    "instruct chat it latest preview exp hf meta free base model default eu us".split()  # noqa: SIM905
    + "v0 v1 001 002 003".split()  # noqa: SIM905
)
_VENDORS = frozenset("anthropic amazon google meta mistralai nvidia openai".split())  # noqa: SIM905
_SERVING_WORDS = frozenset("instant versatile turbo tput fp8 awq".split())  # noqa: SIM905
_CALENDAR_DATE = re.compile(r"[-_@](20\d\d-?\d\d-?\d\d|\d{4})(?=$|-)")
_REVISION = re.compile(r"-v\d+(:\d+)?$")
_SIZE_WORDS = {
    "nano": 3.0,
    "tiny": 1.0,
    "lite": 8.0,
    "mini": 10.0,
    "flash": 20.0,
    "haiku": 20.0,
    "small": 22.0,
    "instant": 20.0,
    "medium": 70.0,
    "turbo": 70.0,
    "sonnet": 150.0,
    "large": 150.0,
    "pro": 250.0,
    "opus": 400.0,
    "ultra": 400.0,
}
"""Billions of parameters that such names are usually thought to stand for; only their order matters."""


@lru_cache(maxsize=4_096)
def words(model: str) -> frozenset[str]:
    """The telling words of a model's name: `meta-llama/Llama-3.1-8B-Instruct` → llama, 3, 1, 8b."""
    name = model.rsplit("/", 1)[-1].lower().replace("@", "-")
    found = [word for word in re.split(r"[^a-z0-9]+", name) if word]
    return frozenset(
        word for word in found if word not in _IDLE_WORDS and not _DATE.fullmatch(word)
    ) or frozenset(found)


@lru_cache(maxsize=4_096)
def size(model: str) -> float | None:
    """Billions of parameters as the name tells or suggests; None if it does not."""
    name = model.rsplit("/", 1)[-1].lower()
    if told := _SIZE.search(name):
        return float(told[1] or 1) * float(told[2])
    suggested = [_SIZE_WORDS[word] for word in words(model) if word in _SIZE_WORDS]
    return min(suggested) if suggested else None


Identity = tuple[frozenset[str], tuple[str, ...], str]


@lru_cache(maxsize=4_096)
def identity(model: str) -> Identity:
    """What a name says of which model it is: its words, its numbers in order, and the date of its version.

    Vendors' prefixes and words that say how a model is served are left out. A word such as `turbo` is one of them only
    beside a size (`Llama-3.3-70B-Instruct-Turbo`); elsewhere it names another model (`gpt-4-turbo`).
    """
    name = model.rsplit("/", 1)[-1].lower()
    name = _REVISION.sub("", name)
    dated = _CALENDAR_DATE.search(name)
    name = _CALENDAR_DATE.sub("", name)
    found = [word for word in re.split(r"[^a-z0-9]+", name) if word]
    idle = _IDLE_WORDS | _VENDORS
    if _SIZE.search(name):
        idle = idle | _SERVING_WORDS
    telling = [word for word in found if word not in idle] or found
    numbers = tuple(word for word in telling if word[0].isdigit())
    return frozenset(word for word in telling if not word[0].isdigit()), numbers, dated[1] if dated else ""


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model, wherever it is served: another version or size is another model."""
    (words_one, numbers_one, date_one), (words_other, numbers_other, date_other) = (
        identity(one),
        identity(other),
    )
    same_version = not date_one or not date_other or date_one == date_other
    return words_one == words_other and numbers_one == numbers_other and same_version


def likeness(one: str, other: str) -> float:
    """0..1: shared words of two names, or part of it for a like size."""
    a, b = words(one), words(other)
    shared = len(a & b) / len(a | b) if a | b else 0.0
    left, right = size(one), size(other)
    if left is not None and right is not None:
        near = exp(-abs(log(max(left, 0.01) / max(right, 0.01))))
        return shared * (0.5 + 0.5 * near) + (1 - shared) * SIZE_WORTH * near
    return shared


def resemblance(model: str, known: Sequence[str]) -> FloatArray:
    """Weights over `known` that sum to 1: what an unseen model is expected to be like."""
    scores = np.array([likeness(model, other) for other in known], dtype=np.float32)
    if scores.max(initial=0.0) >= SAME_MODEL:
        scores = np.where(scores >= SAME_MODEL, scores, -np.inf)
    powers = np.exp((scores - scores.max()) * RESEMBLANCE_SHARPNESS)
    weights: FloatArray = (powers / powers.sum()).astype(np.float32)
    return weights


def tells_nothing(model: str, known: Sequence[str]) -> bool:
    """Whether a name resembles none of those known, not even by a size."""
    return all(likeness(model, other) == 0.0 for other in known)
