"""Ids of tool calls that every vendor takes.

A conversation begun on one vendor goes on at another, whose alphabet and length for ids differ. An id that fits is sent
as it is; any other becomes a digest of itself, so that a call and its result still have the same one, and so that the
same conversation always gives the same bytes (prompt caches match on them).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class ToolIdRule:
    """What ids a vendor takes."""

    fits: re.Pattern[str]
    length: int
    """Characters of an id that is made, without the prefix."""
    prefix: str = ""

    def translate(self, tool_call_id: str) -> str:
        """`tool_call_id` if the vendor takes it, else its digest in the vendor's form."""
        if self.fits.fullmatch(tool_call_id):
            return tool_call_id
        number = int.from_bytes(hashlib.sha256(tool_call_id.encode()).digest(), "big")
        made = []
        for _ in range(self.length):
            number, digit = divmod(number, len(_ALPHABET))
            made.append(_ALPHABET[digit])
        return self.prefix + "".join(made)


COMMON: Final = ToolIdRule(re.compile(r"[A-Za-z0-9_-]{1,40}"), 24, "call_")
"""OpenAI (40 characters at most) and those who take any id of this alphabet; also fits Anthropic and Bedrock (64)."""
NINE: Final = ToolIdRule(re.compile(r"[A-Za-z0-9]{9}"), 9)
"""Mistral: exactly nine letters and digits."""
