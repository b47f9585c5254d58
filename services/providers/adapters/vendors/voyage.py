"""Voyage AI: embeddings alone, OpenAI's shape but for two names. Its models are not in the shipped catalogue."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="voyage",
    base_url="https://api.voyageai.com/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(vector_length="output_dimension", encoding_format=False), provider="voyage"
        )
    },
    credential_variables=("VOYAGE_API_KEY",),
)
