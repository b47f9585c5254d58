"""OpenRouter: a gateway, whose stated cost is what it bills."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.body import obj
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect, usd_nanos
from services.providers.adapters.wire.openai_responses import OpenAIResponses
from services.providers.ports import Vendor


def cost_nanos(usage: Mapping[str, Any]) -> int | None:
    """The stated cost; with a key of one's own at the upstream vendor, that vendor's charge comes on top."""
    own = usd_nanos(usage.get("cost"))
    if own is None or usage.get("is_byok") is not True:
        return own
    upstream = usd_nanos(obj(usage.get("cost_details")).get("upstream_inference_cost"))
    return None if upstream is None else own + upstream


DIALECT = Dialect(
    top_k=True,
    reasoning_details_back=True,
    cache_control=True,
    cost_nanos=cost_nanos,
)

VENDOR = Vendor(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(DIALECT, provider="openrouter"),
        "openai_responses": OpenAIResponses(DIALECT, provider="openrouter"),
    },
    credential_variables=("OPENROUTER_API_KEY",),
)
