import pytest

from services.kernel.model_ref import ModelRef


@pytest.mark.parametrize(
    ("text", "provider", "model"),
    [
        ("openai/gpt-5.4-mini", "openai", "gpt-5.4-mini"),
        ("openrouter/meta/llama-3", "openrouter", "meta/llama-3"),
        ("openai/ft:gpt:acme::x1", "openai", "ft:gpt:acme::x1"),
        ("vertex/claude@20260101", "vertex", "claude@20260101"),
    ],
)
def test_parse_and_print_are_inverse(text: str, provider: str, model: str) -> None:
    reference = ModelRef.parse(text)
    assert (reference.provider, reference.model) == (provider, model)
    assert str(reference) == text


@pytest.mark.parametrize(
    "text", ["", "gpt", "/gpt", "openai/", "Open AI/gpt", "openai/gpt 5", "openai/" + "x" * 300]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="provider/model"):
        ModelRef.parse(text)
