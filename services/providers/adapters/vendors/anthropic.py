"""Anthropic."""

from services.providers.adapters.access import KeyHeader
from services.providers.adapters.wire.anthropic import AnthropicMessages
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="anthropic",
    base_url="https://api.anthropic.com/v1",
    access=KeyHeader("x-api-key"),
    formats={"anthropic_messages": AnthropicMessages()},
    credential_variables=("ANTHROPIC_API_KEY",),
)
