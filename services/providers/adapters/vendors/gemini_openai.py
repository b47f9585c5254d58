"""Gemini's OpenAI-shaped endpoint: for what Gemini itself says, `gemini` is better, for here reasoning is hidden."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="gemini-openai",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(user="", signatures_back=True), provider="gemini-openai")},
    credential_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
)
