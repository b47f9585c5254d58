"""What the classifier sees of a text: hashed terms of its head and tail, and where cue words stand."""

import re
import zlib
from itertools import pairwise

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
_SIGNS = '!"#$%&()*+,-./:;<=>?@[\\]^`{|}~'
"""Printable ASCII that belongs to no word."""

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

Features = tuple[list[int], dict[int, float]]
"""Buckets of what occurs, each once, and the cues and shapes above 0, by their places from BUCKETS on.

Lists and dicts, as a request has a hundred of the one and a dozen of the other: arrays cost more than they save.
"""


class _Word:
    """What a word is to the classifier, found once."""

    __slots__ = ("cues", "first_bucket", "left", "own_bucket", "stem_bucket")

    def __init__(self, word: str) -> None:
        hashed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        self.left = hashed * PAIR_MULTIPLIER % BUCKETS
        """What it adds to the bucket of a pair that it begins."""
        self.first_bucket = zlib.crc32(f"^{word}".encode("utf-8", "surrogatepass")) % BUCKETS
        stem = f"{word[:STEM_CHARS]}~" if len(word) > STEM_CHARS else word
        self.own_bucket = hashed % BUCKETS
        self.stem_bucket = zlib.crc32(stem.encode("utf-8", "surrogatepass")) % BUCKETS
        self.cues = tuple(
            BUCKETS + _TASK_INDEX[task] * PLACES
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


def _tokens(read: str) -> list[str]:
    """What _TOKEN finds. For plain ASCII by a few replacements, as most text has few kinds of signs."""
    if read.isascii():
        plain = read.replace("\n", " ").replace("\t", " ").replace("\r", " ")
        if plain.isprintable():
            for sign in _SIGNS:
                if sign in plain:
                    plain = plain.replace(sign, f" {sign} ")
            return plain.split()
    return _TOKEN.findall(read)


def _pairs(words: list[_Word]) -> list[int]:
    return [(left.left + right.own_bucket) % BUCKETS for left, right in pairwise(words)]


def terms(text: str, instructions: str = "") -> Features:
    """Features of a text; cost is bounded by HEAD_CHARS + TAIL_CHARS + INSTRUCTION_CHARS."""
    whole = len(text) <= HEAD_CHARS + TAIL_CHARS
    window = text if whole else f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    read = f"{instructions[:INSTRUCTION_CHARS]}\n{window}" if instructions else window
    tokens = _tokens(read.lower())
    if len(tokens) > TOKENS_MAX:
        tokens = tokens[: TOKENS_MAX * 2 // 3] + tokens[-(TOKENS_MAX // 3) :]
    words = list(map(_word, tokens))
    found = {word.own_bucket for word in words}
    found.update([word.stem_bucket for word in words])
    found.update([word.first_bucket for word in words[:FIRST_WORDS]])
    found.update(_pairs(words[: 4 * FIRST_WORDS]))
    found.update(_pairs(words[-2 * FIRST_WORDS :]))
    counts: dict[int, float] = {}
    last = len(words) - 2 * FIRST_WORDS
    for at, cues in [(at, word.cues) for at, word in enumerate(words) if word.cues]:
        for index in cues:
            _count(counts, index + 2)
            if at < FIRST_WORDS:
                _count(counts, index)
            if at >= last:
                _count(counts, index + 1)
    if not read.isascii():
        for cue, task in _LONG_SCRIPT_CUES:
            if cue in read:
                index = BUCKETS + _TASK_INDEX[task] * PLACES
                _count(counts, index + 2)
                _count(counts, index)
    _add_shapes(counts, text, window, len(words))
    return list(found), counts


def _count(counts: dict[int, float], place: int) -> None:
    counted = counts.get(place, 0.0)
    if counted < CUE_MAX:
        counts[place] = counted + 1.0


def _add_shapes(counts: dict[int, float], text: str, window: str, tokens: int) -> None:
    # One pass over the bytes instead of one for each sign: signs of ASCII are bytes of their own in UTF-8.
    of = np.bincount(np.frombuffer(window.encode("utf-8", "surrogatepass"), np.uint8), minlength=128).tolist()
    lines = of[_NEWLINE]
    dashes = window.count(" - ") if of[_DASH] else 0
    calls = window.count("()") if of[_OPENING] and of[_CLOSING] else 0
    shapes = (
        tokens < 12,
        tokens < 4,
        min(len(text) / 20_000, 3.0),
        lines > 0,
        lines > 4,
        window.rstrip().endswith(("?", "？")),
        of[_QUOTE] > 0 or "«" in window or "“" in window,
        of[_COLON] > 0 or "：" in window,
        min(of[_BRACE] + of[_BRACKET], 3) / 3,
        min(sum(of[_ZERO : _ZERO + 10]) / 8, 2.0),
        not any(map(str.isalpha, window[:40])),
        min(of[_SEMICOLON] + calls, 4) / 4,
        of[_BACKTICK] > 0,
        min(of[_EQUALS], 2) / 2,
        min(of[_PLUS] + of[_CARET] + of[_STAR] + dashes, 3) / 3,
        min(of[_DOLLAR] + of[_PERCENT] + of[_BACKSLASH], 3) / 3,
    )
    for place, shape in enumerate(shapes, BUCKETS + CUE_FEATURES):
        if shape:
            counts[place] = float(shape)


_NEWLINE, _QUOTE, _COLON, _SEMICOLON, _BRACE, _BRACKET, _OPENING, _CLOSING = map(ord, '\n":;{[()')
_BACKTICK, _EQUALS, _PLUS, _DASH, _CARET, _STAR, _DOLLAR, _PERCENT, _BACKSLASH, _ZERO = map(
    ord, "`=+-^*$%\\0"
)
