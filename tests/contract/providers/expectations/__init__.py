"""What must come out of a recorded answer, derived from its raw body by code that imports nothing of the services.

It reads the body again in its own, slow and simple way: by the facts of each vendor's wire format, not by the adapters.
"""

from tests.contract.providers.expectations import (
    bedrock,
    errors,
    openai_chat,
    openai_responses,
    others,
    small,
)
from tests.contract.providers.expectations.shape import Expected

FAMILIES = {
    "openai-chat": openai_chat.expected,
    "openai-completions": openai_chat.expected,
    "openai-responses": openai_responses.expected,
    "anthropic-messages": others.anthropic,
    "gemini": others.gemini,
    "bedrock-converse": bedrock.bedrock_converse,
    "bedrock-invoke": bedrock.bedrock_invoke,
    "cohere-v2-chat": others.cohere,
    "ollama-native": others.ollama,
    "openai-embeddings": small.openai_embeddings,
    "gemini-embeddings": small.gemini_embeddings,
    "cohere-embed": small.cohere_embeddings,
    "count-tokens": small.count,
}


def expected(recording: dict) -> Expected:  # type: ignore[type-arg]
    """What must come out of `recording`. Raises KeyError for a family that is not known."""
    family = FAMILIES[recording["api_family"]]
    if (recording["response"]["status"] or 200) != 200:
        return errors.of_status(recording)
    return family(recording)
