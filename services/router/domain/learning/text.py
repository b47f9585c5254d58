"""Reads a bounded part of a prompt and turns it into numbers: hashed words and a few scalars.

Only the head and the tail of a long text are read, so the work has a ceiling whatever a caller sends.
Everything here is deterministic across processes and platforms (CRC-32, not Python's salted `hash`),
because a trained prior stores what the hashes mean.
"""

import re
import zlib
from dataclasses import dataclass
from itertools import pairwise
from math import log1p, sqrt
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int32]

HEAD_CHARS = 1_200  # what a task is, is said in the first lines ...
TAIL_CHARS = 800  # ... or in the last ones, after the document; between them lies the document itself.
TOKENS_MAX = 300  # words hashed; 1,200 characters of prose hold about as many.
QUESTION_CHARS_MAX = 1_000  # of the last paragraph, from its end: the options and what is asked.
BUCKETS = 4_096  # hashed words and word pairs; doubling it changed no figure by more than its interval.
PAIR_MULTIPLIER = 1_000_003  # joins two words' hashes; order matters, so "dog bites" is not "bites dog".
PAIR_MODULUS = 2_147_483_647  # a prime, so that the pair's bucket depends on all bits of both.
VOCABULARY_CACHE_MAX = 200_000  # words remembered, about 20 MB; cleared when full, so memory stays bounded.

_TOKEN = re.compile(r"\w+|[^\w\s]")
_OPTION = re.compile(r"(?:^|[\n,]|\s)[ \t]*\(?([A-P1-9])[).:][ \t]+", re.MULTILINE)
_CAPITAL = re.compile(r"[A-Z]")
_DIGIT = re.compile(r"[0-9]")
_NEGATIONS = frozenset({"not", "except", "least", "false", "incorrect"})
_ASKS_REASON = frozenset({"why", "how", "explain"})
_FILLERS = frozenset(
    "the a an of to in is are was and or that which what for on by with as it be from at".split()  # noqa: SIM905
    + "this would most does do how".split()  # noqa: SIM905
)

SCALARS = (
    "log_chars",
    "log_stem_chars",
    "log_stem_words",
    "options",
    "log_option_chars",
    "option_spread",
    "option_overlap",
    "option_overlap_spread",
    "option_likeness",
    "digit_share",
    "option_digit_share",
    "questions",
    "capital_share",
    "word_chars",
    "word_chars_deviation",
    "distinct_words",
    "backslashes",
    "dollars",
    "negated",
    "which_following",
    "asks_reason",
    "blank",
    "commas",
    "full_stops",
    "numbers",
    "long_words",
)


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """What the estimator sees of a prompt: never the text itself.

    buckets: distinct hashed words and word pairs, shape (n,), each in 0..BUCKETS-1.
    question: the same of the last paragraph alone: after worked examples or a document that is what is asked.
    scalars: one float per name in `SCALARS`, raw (not standardised).
    chars: length of the whole prompt in characters, known without reading it.
    """

    buckets: IntArray
    question: IntArray
    scalars: FloatArray
    chars: int


def read_bounded(text: str) -> str:
    """Head and tail of `text`, at most HEAD_CHARS + TAIL_CHARS + 1 characters."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


_word_hashes: dict[str, int] = {}


def word_hash(word: str) -> int:
    """A word's 32-bit hash; the same in every process."""
    found = _word_hashes.get(word)
    if found is None:
        if len(_word_hashes) >= VOCABULARY_CACHE_MAX:
            _word_hashes.clear()
        found = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        _word_hashes[word] = found
    return found


def text_features(text: str) -> TextFeatures:
    """The features of one prompt; cost is bounded by HEAD_CHARS + TAIL_CHARS, not by the prompt."""
    window = read_bounded(text)
    question = last_question(window)[-QUESTION_CHARS_MAX:]
    return TextFeatures(
        buckets=_buckets(window),
        question=_buckets(question),
        scalars=_scalars(question, len(text)),
        chars=len(text),
    )


def _buckets(text: str) -> IntArray:
    """Distinct hashes of words and pairs of words, of the head and the tail of a long text."""
    tokens = _TOKEN.findall(text.lower())
    if len(tokens) > TOKENS_MAX:
        tokens = tokens[: TOKENS_MAX * 3 // 5] + tokens[-(TOKENS_MAX * 2 // 5) :]
    known = _word_hashes
    hashes = np.array(
        [found if (found := known.get(word)) is not None else word_hash(word) for word in tokens], np.int64
    )
    occurs = np.zeros(BUCKETS, dtype=bool)
    occurs[hashes % BUCKETS] = True
    occurs[(hashes[:-1] * PAIR_MULTIPLIER + hashes[1:]) % PAIR_MODULUS % BUCKETS] = True
    return np.flatnonzero(occurs).astype(np.int32)


def last_question(window: str) -> str:
    """The last paragraph: after worked examples or a document it is the question that is really asked."""
    stripped = window.strip()
    cut = stripped.rfind("\n\n")
    if cut < 0:
        return stripped
    if len(stripped) - cut < 40:  # a bare "Answer:" is not a question; take the paragraph before it too.
        cut = stripped.rfind("\n\n", 0, cut)
    return stripped[cut + 2 :] if cut >= 0 else stripped


def _content(text: str) -> set[str]:
    return set(text.split()) - _FILLERS


def _scalars(question: str, chars: int) -> FloatArray:
    lowered = question.lower()
    marks = list(_OPTION.finditer(question))
    stem = question[: marks[0].start()] if marks else question
    options = [
        lowered[mark.end() : following.start() if following else len(lowered)].strip()
        for mark, following in zip(marks, [*marks[1:], None], strict=False)
    ]
    words = lowered[: len(stem)].split()
    lengths = [len(word) for word in words]
    count = max(len(words), 1)
    stem_chars = max(len(stem), 1)
    mean_length = sum(lengths) / count
    deviation = sqrt(max(sum(map(mul, lengths, lengths)) / count - mean_length**2, 0.0))
    distinct = set(words)
    option_lengths = [len(option) for option in options] or [0]
    overlaps, likeness = [0.0], 0.0
    if options:
        asked = distinct - _FILLERS
        contents = [_content(option) for option in options[:8]]
        overlaps = [len(content & asked) / max(len(content), 1) for content in contents]
        pairs = list(pairwise(contents))
        likeness = sum(len(a & b) / max(len(a | b), 1) for a, b in pairs) / max(len(pairs), 1)
    digits = len(_DIGIT.findall(stem))
    option_text = "".join(options)
    option_digits = len(_DIGIT.findall(option_text))
    capitals = len(_CAPITAL.findall(stem))
    return np.array(
        (
            log1p(chars),
            log1p(len(stem)),
            log1p(len(words)),
            len(options) / 4,
            log1p(sum(option_lengths) / len(option_lengths)),
            log1p(max(option_lengths)) - log1p(min(option_lengths)),
            sum(overlaps) / len(overlaps),
            max(overlaps) - min(overlaps),
            likeness,
            digits / stem_chars * 10,
            option_digits / max(len(option_text), 1) * 3,
            stem.count("?"),
            capitals / stem_chars * 10,
            mean_length,
            deviation,
            len(distinct) / count,
            stem.count("\\") / stem_chars * 30,
            stem.count("$") / stem_chars * 30,
            not distinct.isdisjoint(_NEGATIONS),
            "which" in distinct or "following" in distinct,
            not distinct.isdisjoint(_ASKS_REASON),
            "_" in stem,
            stem.count(",") / stem_chars * 30,
            stem.count(".") / stem_chars * 30,
            sum(map(str.isdigit, words)) / 5,
            sum(length > 9 for length in lengths) / count * 5,
        ),
        dtype=np.float32,
    )
