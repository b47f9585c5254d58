"""What the classifier sees of a text: hashed terms of its head and tail, and where cue words stand."""

import re
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from services.router.domain.task_belief.belief import TASKS
from services.router.domain.task_belief.cues import STEM_CHARS, cue_table

HEAD_CHARS = 600  # instructions come first ...
TAIL_CHARS = 300  # ... or last; what lies between is the material they are about.
INSTRUCTION_CHARS = 400  # of the system prompt.
TOKENS_MAX = 220
FIRST_WORDS = 6  # the verb of a request is among them.
BUCKETS = 8_192
TERMS_KEPT_MAX = 100_000  # memo of hashes; cleared when full.

_TOKEN = re.compile(
    r"[a-zA-Z0-9_'\u00c0-\u024f\u0370-\u052f\u0590-\u06ff\u0900-\u097f]+"  # words of scripts with spaces
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # one sign of the others
    r"|[^\w\s]"
)
_CUES = cue_table()
_TASK_INDEX = {task: index for index, task in enumerate(TASKS)}
_LONG_SCRIPT_CUES = tuple((cue, tasks) for cue, tasks in _CUES.items() if cue[0] >= "\u0600")
"""Cues of scripts without spaces, or whose words inflect at both ends: looked for anywhere."""
PLACES = 3  # first words, last words, anywhere.
CUE_FEATURES = PLACES * len(TASKS)
SHAPES = (
    "short",
    "very_short",
    "long",
    "has_newline",
    "many_newlines",
    "ends_question",
    "has_quote",
    "has_colon",
    "braces",
    "digits",
    "no_letters",
    "semicolons",
    "backticks",
    "equals",
    "operators",
    "dollars",
)
FEATURES = BUCKETS + CUE_FEATURES + len(SHAPES)

Features = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Indices of what occurs, each 0..FEATURES-1, and how much of it."""

_hashes: dict[str, int] = {}


def _bucket(term: str) -> int:
    found = _hashes.get(term)
    if found is None:
        if len(_hashes) >= TERMS_KEPT_MAX:
            _hashes.clear()
        found = zlib.crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS
        _hashes[term] = found
    return found


def terms(text: str, instructions: str = "") -> Features:
    """Features of a text; cost is bounded by HEAD_CHARS + TAIL_CHARS + INSTRUCTION_CHARS."""
    whole = len(text) <= HEAD_CHARS + TAIL_CHARS
    window = text if whole else f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    read = f"{instructions[:INSTRUCTION_CHARS]}\n{window}" if instructions else window
    tokens = _TOKEN.findall(read.lower())
    if len(tokens) > TOKENS_MAX:
        tokens = tokens[: TOKENS_MAX * 2 // 3] + tokens[-(TOKENS_MAX // 3) :]
    found = set(tokens)
    first = tokens[:FIRST_WORDS]
    found.update([f"^{token}" for token in first])
    found.update([token[:STEM_CHARS] + "~" for token in tokens if len(token) > STEM_CHARS])
    opening = tokens[: 4 * FIRST_WORDS]
    found.update([f"{left} {right}" for left, right in pairwise(opening)])
    closing = tokens[-2 * FIRST_WORDS :]
    found.update([f"{left} {right}" for left, right in pairwise(closing)])
    known = _hashes
    ids = {at if (at := known.get(term)) is not None else _bucket(term) for term in found}
    cues = [0.0] * CUE_FEATURES
    count = len(tokens)
    for at, token in enumerate(tokens):
        pointed = _CUES.get(token[:STEM_CHARS])
        if pointed is None:
            continue
        for task in pointed:
            index = _TASK_INDEX[task] * PLACES
            cues[index + 2] += 1.0
            if at < FIRST_WORDS:
                cues[index] += 1.0
            if at >= count - 2 * FIRST_WORDS:
                cues[index + 1] += 1.0
    if not read.isascii():
        for cue, pointed in _LONG_SCRIPT_CUES:
            if cue in read:
                for task in pointed:
                    cues[_TASK_INDEX[task] * PLACES + 2] += 1.0
                    cues[_TASK_INDEX[task] * PLACES] += 1.0
    indices = np.fromiter(ids, dtype=np.int32, count=len(ids))
    dense = [min(value, 3.0) for value in cues] + _shapes(text, window, count)
    values = np.empty(len(ids) + len(dense), dtype=np.float32)
    values[: len(ids)] = 1.0 / max(len(ids), 1) ** 0.5
    values[len(ids) :] = dense
    return np.concatenate((indices, _DENSE)), values


_DENSE = np.arange(BUCKETS, FEATURES, dtype=np.int32)


def _shapes(text: str, window: str, tokens: int) -> list[float]:
    lines = window.count("\n")
    return [
        float(tokens < 12),
        float(tokens < 4),
        min(len(text) / 20_000, 3.0),
        float(lines > 0),
        float(lines > 4),
        float(window.rstrip().endswith(("?", "？"))),
        float('"' in window or "«" in window or "“" in window),
        float(":" in window or "：" in window),
        min(window.count("{") + window.count("["), 3) / 3,
        min(sum(map(window.count, "0123456789")) / 8, 2.0),
        float(not any(map(str.isalpha, window[:200]))),
        min(window.count(";") + window.count("()"), 4) / 4,
        float("```" in window or "`" in window),
        min(window.count("="), 2) / 2,
        min(window.count("+") + window.count("^") + window.count("*") + window.count(" - "), 3) / 3,
        min(window.count("$") + window.count("%") + window.count("\\"), 3) / 3,
    ]
