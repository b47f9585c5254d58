"""Our own count of tokens, by the shared library."""

from services.tokens import count_input, count_text
from services.tokens.families import guess_tokenizer
from turnpike.common.v1 import content_pb2


def tokenizer_of(tokenizer: str, vendor_model: str) -> str:
    """The catalogue's tokenizer, or the one that models of this name usually have."""
    return tokenizer or guess_tokenizer(vendor_model)


def count_of(given: content_pb2.GenerationInput, tokenizer: str, vendor_model: str) -> int:
    """The estimate of a prompt's tokens."""
    return count_input(given, tokenizer_of(tokenizer, vendor_model)).estimate


def tokens_of(text: str, tokenizer: str, vendor_model: str) -> int:
    """The estimate of a text's tokens; 0 for none."""
    return count_text(text, tokenizer_of(tokenizer, vendor_model)).estimate if text else 0
