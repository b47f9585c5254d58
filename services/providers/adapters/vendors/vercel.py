"""Vercel's gateway."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="vercel-gateway",
    base_url="https://ai-gateway.vercel.sh/v1",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(), provider="vercel-gateway")},
    credential_variables=("AI_GATEWAY_API_KEY",),
)
