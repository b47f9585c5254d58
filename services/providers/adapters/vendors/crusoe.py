"""Crusoe."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="crusoe",
    base_url="https://api.inference.crusoecloud.com/v1",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(top_k=True), provider="crusoe")},
    credential_variables=("CRUSOE_API_KEY",),
)
