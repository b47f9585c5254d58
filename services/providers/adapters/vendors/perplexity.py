"""Perplexity: searches before it answers, and states what that cost."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.body import obj
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect, usd_nanos
from services.providers.ports import Vendor


def cost_nanos(usage: Mapping[str, Any]) -> int | None:
    """The stated total, searches included."""
    return usd_nanos(obj(usage.get("cost")).get("total_cost"))


VENDOR = Vendor(
    name="perplexity",
    base_url="https://api.perplexity.ai",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(stream_usage=False, seed="", user="", top_k=True, logprobs=False, cost_nanos=cost_nanos),
            provider="perplexity",
        )
    },
    credential_variables=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
)
