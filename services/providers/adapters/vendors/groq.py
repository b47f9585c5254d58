"""Groq."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(max_tokens="max_completion_tokens", reasoning_back="reasoning", logprobs=False),
            provider="groq",
        )
    },
    credential_variables=("GROQ_API_KEY",),
)
