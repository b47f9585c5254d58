"""Cerebras."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="cerebras",
    base_url="https://api.cerebras.ai/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(max_tokens="max_completion_tokens", reasoning_back="reasoning"), provider="cerebras"
        )
    },
    credential_variables=("CEREBRAS_API_KEY",),
)
