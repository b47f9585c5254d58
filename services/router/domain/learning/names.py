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
