"""Avian."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="avian",
    base_url="https://api.avian.io/v1",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(), provider="avian")},
    credential_variables=("AVIAN_API_KEY",),
)
