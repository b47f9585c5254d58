"""Bedrock's OpenAI-shaped endpoint; an endpoint brings its region's address."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="bedrock-mantle",
    base_url="",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(), provider="bedrock-mantle")},
    credential_variables=("AWS_BEARER_TOKEN_BEDROCK",),
)
