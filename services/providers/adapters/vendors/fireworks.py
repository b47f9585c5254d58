"""Fireworks."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="fireworks",
    base_url="https://api.fireworks.ai/inference/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(top_k=True, reasoning_back="reasoning_content"), provider="fireworks"
        )
    },
    credential_variables=("FIREWORKS_API_KEY",),
)
