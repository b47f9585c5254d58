"""What the classifier sees of a text: hashed terms of its head and tail, and where cue words stand."""

import re
import zlib
from itertools import chain, pairwise

import numpy as np

from services.router.domain.task_belief.belief import TASKS
from services.router.domain.task_belief.cues import STEM_CHARS, cue_table

HEAD_CHARS = 600  # instructions come first ...
TAIL_CHARS = 300  # ... or last; what lies between is the material they are about.
INSTRUCTION_CHARS = 400  # of the system prompt.
TOKENS_MAX = 220
FIRST_WORDS = 6  # the verb of a request is among them.
BUCKETS = 8_192
PAIR_MULTIPLIER = 1_000_003
CUE_MAX = 3.0  # a word said ten times does not mean it ten times as much.
WORDS_KEPT_MAX = 50_000  # memo of words, some 15 MB; cleared when full.

_TOKEN = re.compile(
    r"[a-zA-Z0-9_'\u00c0-\u024f\u0370-\u052f\u0590-\u06ff\u0900-\u097f]+"  # words of scripts with spaces
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # one sign of the others
    r"|[^\w\s]"
)
_CUES = cue_table()
_TASK_INDEX = {task: index for index, task in enumerate(TASKS)}
_LONG_SCRIPT_CUES = tuple(pair for pairs in _CUES.values() for pair in pairs if pair[0][0] >= "\u0600")
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

Features = tuple[list[int], list[float]]
"""Buckets of what occurs, each once, and the counts of cues and shapes, FEATURES - BUCKETS of them.

Lists, as a request has a hundred of the one and a dozen of the other above 0: arrays of them cost more than they save.
"""


class _Word:
    """What a word is to the classifier, found once."""

    __slots__ = ("cues", "first_bucket", "left", "own_buckets")

    def __init__(self, word: str) -> None:
        hashed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        self.left = hashed * PAIR_MULTIPLIER % BUCKETS
        """What it adds to the bucket of a pair that it begins."""
        self.first_bucket = zlib.crc32(f"^{word}".encode("utf-8", "surrogatepass")) % BUCKETS
        stem = f"{word[:STEM_CHARS]}~" if len(word) > STEM_CHARS else word
        self.own_buckets = (
            hashed % BUCKETS,
            zlib.crc32(stem.encode("utf-8", "surrogatepass")) % BUCKETS,
        )
        self.cues = tuple(
            _TASK_INDEX[task] * PLACES
            for cue, task in _CUES.get(word[:STEM_CHARS], ())
            if word.startswith(cue)
        )


class _Words(dict[str, _Word]):
    """The words that were met, bounded."""

    def __missing__(self, word: str) -> _Word:
        if len(self) >= WORDS_KEPT_MAX:
            self.clear()
        found = self[word] = _Word(word)
        return found


_word = _Words().__getitem__


def _pairs(words: list[_Word]) -> list[int]:
    return [(left.left + right.own_buckets[0]) % BUCKETS for left, right in pairwise(words)]


def terms(text: str, instructions: str = "") -> Features:
    """Features of a text; cost is bounded by HEAD_CHARS + TAIL_CHARS + INSTRUCTION_CHARS."""
    whole = len(text) <= HEAD_CHARS + TAIL_CHARS
    window = text if whole else f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    read = f"{instructions[:INSTRUCTION_CHARS]}\n{window}" if instructions else window
    tokens = _TOKEN.findall(read.lower())
    if len(tokens) > TOKENS_MAX:
        tokens = tokens[: TOKENS_MAX * 2 // 3] + tokens[-(TOKENS_MAX // 3) :]
    words = list(map(_word, tokens))
    found = set(chain.from_iterable([word.own_buckets for word in words]))
    found.update([word.first_bucket for word in words[:FIRST_WORDS]])
    found.update(_pairs(words[: 4 * FIRST_WORDS]))
    found.update(_pairs(words[-2 * FIRST_WORDS :]))
    counts = [0.0] * CUE_FEATURES
    last = len(words) - 2 * FIRST_WORDS
    for at, cues in [(at, word.cues) for at, word in enumerate(words) if word.cues]:
        for index in cues:
            counts[index + 2] += 1.0
            if at < FIRST_WORDS:
                counts[index] += 1.0
            if at >= last:
                counts[index + 1] += 1.0
    if not read.isascii():
        for cue, task in _LONG_SCRIPT_CUES:
            if cue in read:
                counts[_TASK_INDEX[task] * PLACES + 2] += 1.0
                counts[_TASK_INDEX[task] * PLACES] += 1.0
    counts = [count and (count if count < CUE_MAX else CUE_MAX) for count in counts]
    counts += _shapes(text, window, len(words))
    return list(found), counts


def _shapes(text: str, window: str, tokens: int) -> list[float]:
    # One pass over the bytes instead of one for each sign: signs of ASCII are bytes of their own in UTF-8.
    of = np.bincount(np.frombuffer(window.encode("utf-8", "surrogatepass"), np.uint8), minlength=128).tolist()
    lines = of[_NEWLINE]
    dashes = window.count(" - ") if of[_DASH] else 0
    calls = window.count("()") if of[_OPENING] and of[_CLOSING] else 0
    return [
        float(tokens < 12),
        float(tokens < 4),
        min(len(text) / 20_000, 3.0),
        float(lines > 0),
        float(lines > 4),
        float(window.rstrip().endswith(("?", "？"))),
        float(of[_QUOTE] > 0 or "«" in window or "“" in window),
        float(of[_COLON] > 0 or "：" in window),
        min(of[_BRACE] + of[_BRACKET], 3) / 3,
        min(sum(of[_ZERO : _ZERO + 10]) / 8, 2.0),
        float(not any(map(str.isalpha, window[:40]))),
        min(of[_SEMICOLON] + calls, 4) / 4,
        float(of[_BACKTICK] > 0),
        min(of[_EQUALS], 2) / 2,
        min(of[_PLUS] + of[_CARET] + of[_STAR] + dashes, 3) / 3,
        min(of[_DOLLAR] + of[_PERCENT] + of[_BACKSLASH], 3) / 3,
    ]


_NEWLINE, _QUOTE, _COLON, _SEMICOLON, _BRACE, _BRACKET, _OPENING, _CLOSING = map(ord, '\n":;{[()')
_BACKTICK, _EQUALS, _PLUS, _DASH, _CARET, _STAR, _DOLLAR, _PERCENT, _BACKSLASH, _ZERO = map(
    ord, "`=+-^*$%\\0"
)
