"""Pages of a list: how many rows, and where the next page begins.

Lists are paged by key, not by offset: a token holds the key of the last row that was given, so that rows which come and
go between two pages are neither given twice nor skipped. Tokens are opaque to callers and hold nothing secret.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from services.kernel.errors import InvalidRequest

ROWS_DEFAULT = 100
ROWS_MAX = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")
TOKEN_LENGTH_MAX = 4096  # a key is a few ids and a time; more is no token of ours


def page_rows(asked: int, *, default: int = ROWS_DEFAULT, most: int = ROWS_MAX) -> int:
    """How many rows a page has: at most `most`. Raises InvalidRequest if a negative number is asked for."""
    if asked < 0:
        raise InvalidRequest.of("page_size", "must not be negative")
    return min(asked or default, most)


def page_token(key: Sequence[str]) -> str:
    """The token of the page that begins after the row with this key; the key's parts as text."""
    return (
        base64.urlsafe_b64encode(json.dumps(list(key), separators=(",", ":")).encode()).decode().rstrip("=")
    )


def page_key(token: str, parts: int) -> tuple[str, ...] | None:
    """The key that a token holds, in `parts` parts; None for the first page (an empty token).

    Raises InvalidRequest if the token is not one that `page_token` made for such a list.
    """
    if not token:
        return None
    if len(token) <= TOKEN_LENGTH_MAX:
        try:
            key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (binascii.Error, ValueError, RecursionError):  # RecursionError: lists in lists in lists
            key = None
        if isinstance(key, list) and len(key) == parts and all(map(_is_text, key)):
            return tuple(key)
    raise _no_token_of_ours()


def key_time(part: str) -> datetime:
    """A part of a key that is a time with its offset, as isoformat wrote it; raises InvalidRequest if it is none."""
    try:
        time = datetime.fromisoformat(part)
        if time.tzinfo is not None:
            time.astimezone(UTC)
            return time
    except (ValueError, OverflowError):  # OverflowError: its year is outside 1 to 9999 in UTC
        pass
    raise _no_token_of_ours()


def _is_text(part: object) -> bool:
    """Whether a store can compare with it: U+0000 and halves of surrogates are in no key."""
    return isinstance(part, str) and "\0" not in part and not _SURROGATE.search(part)


def _no_token_of_ours() -> InvalidRequest:
    return InvalidRequest.of("page_token", "is not the next_page_token of this list")
