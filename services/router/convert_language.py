"""Finds out the language of a text with CLD2, Chromium's detector: 10 to 20 µs for a bounded head, no model to fetch.

Only a reliable answer counts; short, mixed and invented texts have no language. Where there is no wheel of the library
(docs/decisions/0069 says where) every language is unknown.
"""

import importlib.util
from typing import Final

HEAD_CHARS: Final = 250
"""Of the newest turn; more changes no answer and costs time."""

SHARE_MIN: Final = 70
"""Percent of the text that must be of the language: below it a request is of several."""

_SPELLED: Final = {"iw": "he", "jw": "jv", "in": "id", "mo": "ro", "no": "nb"}
"""BCP 47 has other names for a few."""

if importlib.util.find_spec("pycld2") is not None:
    import pycld2

    def language_of(text: str) -> str:
        """BCP 47 language of a text; empty: unknown."""
        try:
            reliable, _, found = pycld2.detect(text[:HEAD_CHARS])
        except pycld2.error:  # control characters that are no text
            return ""
        _, code, share, _ = found[0]
        if not reliable or code == "un" or share < SHARE_MIN:
            return ""
        return _SPELLED.get(code, str(code))

else:

    def language_of(text: str) -> str:
        """Unknown: the library is not there."""
        return ""
