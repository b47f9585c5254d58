"""Page tokens go out opaque and come back whole; anything else is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import InvalidRequest
from services.kernel.pages import ROWS_DEFAULT, ROWS_MAX, key_time, page_key, page_rows, page_token


def token_of(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_token_gives_its_key_back(key: list[str]) -> None:
    assert page_key(page_token(key), len(key)) == tuple(key)


def test_the_first_page_has_no_key() -> None:
    assert page_key("", 2) is None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "%%%",
        "bnVsbA",
        page_token(["only one"]),
        "A" * 5000,
        "ünicode",
        token_of("[" * 3000),
        token_of('["\\ud800","x"]'),
        token_of('["\\u0000","x"]'),
    ],
)
def test_what_is_no_token_of_the_list_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_key(token, 2)
    assert refused.value.violations[0].field == "page_token"


def test_rows_have_a_default_and_a_bound() -> None:
    assert page_rows(0) == ROWS_DEFAULT
    assert page_rows(7) == 7
    assert page_rows(10**9) == ROWS_MAX
    with pytest.raises(InvalidRequest):
        page_rows(-1)


@pytest.mark.parametrize("part", ["yesterday", "2026-01-01T00:00:00", "", "0001-01-01T00:00:00+23:59"])
def test_a_key_s_time_must_be_one(part: str) -> None:
    with pytest.raises(InvalidRequest):
        key_time(part)
    assert key_time("2026-01-01T00:00:00+00:00").year == 2026
