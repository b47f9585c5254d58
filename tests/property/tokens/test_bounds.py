from hypothesis import given
from hypothesis import strategies as st

from services.kernel.tokens import byte_bound
from services.tokens import count_text, profile_names

texts = st.text(max_size=400)


@given(texts, st.sampled_from(profile_names()))
def test_a_text_has_no_more_tokens_than_bytes(text: str, tokenizer: str) -> None:
    count = count_text(text, tokenizer)
    assert 0 <= count.estimate <= count.upper_bound
    assert count_text(text, "bytes").upper_bound >= len(text.encode())
    assert count_text(text, "o200k").upper_bound <= byte_bound(len(text.encode()))
