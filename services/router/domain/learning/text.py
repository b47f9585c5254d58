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
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int32]

HEAD_CHARS = 1_200  # what a task is, is said in the first lines ...
TAIL_CHARS = 800  # ... or in the last ones, after the document; between them lies the document itself.
TOKENS_MAX = (
    420  # tokens hashed; 2,000 characters of prose hold about 400, so only dense code or symbols are cut.
)
BUCKETS = 4_096  # hashed words and word pairs; doubling it changed no figure by more than its interval.
VOCABULARY_CACHE_MAX = (
    200_000  # entries of the memo below, about 20 MB; cleared when full, so memory stays bounded.
)

_TOKEN = re.compile(r"\w+|[^\w\s]")
_OPTION = re.compile(r"(?:^|[\n,]|\s)[ \t]*\(?([A-P1-9])[).:][ \t]+", re.MULTILINE)
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
    scalars: one float per name in `SCALARS`, raw (not standardised).
    chars: length of the whole prompt in characters, known without reading it.
    """

    buckets: IntArray
    scalars: FloatArray
    chars: int


def read_bounded(text: str) -> str:
    """Head and tail of `text`, at most HEAD_CHARS + TAIL_CHARS + 1 characters."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


_bucket_of: dict[str, int] = {}


def bucket(term: str) -> int:
    """The bucket of a word or word pair; the same in every process."""
    found = _bucket_of.get(term)
    if found is None:
        if len(_bucket_of) >= VOCABULARY_CACHE_MAX:
            _bucket_of.clear()
        found = zlib.crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS
        _bucket_of[term] = found
    return found


def text_features(text: str) -> TextFeatures:
    """The features of one prompt; cost is bounded by HEAD_CHARS + TAIL_CHARS, not by the prompt."""
    window = read_bounded(text)
    tokens = _TOKEN.findall(window.lower())
    if len(tokens) > TOKENS_MAX:
        tokens = tokens[: TOKENS_MAX * 3 // 5] + tokens[-(TOKENS_MAX * 2 // 5) :]
    known = _bucket_of
    terms = tokens + [f"{left} {right}" for left, right in pairwise(tokens)]
    distinct = {found if (found := known.get(term)) is not None else bucket(term) for term in terms}
    buckets = np.fromiter(distinct, dtype=np.int32, count=len(distinct))
    return TextFeatures(buckets=buckets, scalars=_scalars(window, len(text)), chars=len(text))


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


def _scalars(window: str, chars: int) -> FloatArray:
    question = last_question(window)
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
    deviation = sqrt(sum((length - mean_length) ** 2 for length in lengths) / count)
    distinct = set(words)
    option_lengths = [len(option) for option in options] or [0]
    overlaps, likeness = [0.0], 0.0
    if options:
        asked = distinct - _FILLERS
        contents = [_content(option) for option in options[:8]]
        overlaps = [len(content & asked) / max(len(content), 1) for content in contents]
        pairs = list(pairwise(contents))
        likeness = sum(len(a & b) / max(len(a | b), 1) for a, b in pairs) / max(len(pairs), 1)
    digits = sum(map(stem.count, "0123456789"))
    option_text = "".join(options)
    option_digits = sum(map(option_text.count, "0123456789")) if option_text else 0
    capitals = sum(map(str.isupper, stem))
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
