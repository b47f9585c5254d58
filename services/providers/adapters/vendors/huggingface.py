"""Hugging Face's router."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="huggingface-router",
    base_url="https://router.huggingface.co/v1",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(logprobs=False), provider="huggingface-router")},
    credential_variables=("HF_TOKEN",),
)
