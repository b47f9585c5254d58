import pytest

from services.router.domain.patterns import matches, problem
from tests.support.boards import model

GPT = model("openai/gpt-4o", groups=frozenset({"flagship"}))
LLAMA = model("openrouter/meta/llama-3", groups=frozenset({"small"}))


@pytest.mark.parametrize(
    ("pattern", "gpt", "llama"),
    [
        ("*", True, True),
        ("openai/gpt-4o", True, False),
        ("openai/*", True, False),
        ("*/llama-3", False, True),
        ("*o*o*", True, True),
        ("group:small", False, True),
        ("provider:openai", True, False),
        ("provider:open*", True, True),
        ("openai/gpt-4", False, False),
        ("openai/gpt-4o*", True, False),
        ("gpt-4o", False, False),
    ],
)
def test_a_pattern_names_models(pattern: str, gpt: bool, llama: bool) -> None:
    assert matches(pattern, GPT) is gpt
    assert matches(pattern, LLAMA) is llama


def test_overlapping_pieces_do_not_share_characters() -> None:
    assert not matches("openai/gpt-4o*4o", GPT)


@pytest.mark.parametrize("pattern", ["", "a b", "group:", "x" * 300, "(a+)+$", "openai/[a-z]"])
def test_a_malformed_pattern_is_told(pattern: str) -> None:
    assert problem(pattern)


@pytest.mark.parametrize("pattern", ["*", "openai/*", "group:small", "provider:openai", "a/b:c@d"])
def test_a_well_formed_pattern_has_no_problem(pattern: str) -> None:
    assert problem(pattern) is None
