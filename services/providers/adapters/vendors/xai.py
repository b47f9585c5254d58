"""xAI: completion tokens leave reasoning out, and the bill comes in ticks of a ten-billionth of a dollar."""

from collections.abc import Mapping
from typing import Any, Final

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_responses import OpenAIResponses
from services.providers.domain.usage import count
from services.providers.ports import Vendor

TICKS_PER_NANO: Final = 10


def cost_nanos(usage: Mapping[str, Any]) -> int | None:
    """The stated cost in nano-USD, half-even."""
    ticks = count(usage.get("cost_in_usd_ticks"))
    if ticks is None:
        return None
    whole, rest = divmod(ticks, TICKS_PER_NANO)
    return whole + (rest > TICKS_PER_NANO // 2 or (rest == TICKS_PER_NANO // 2 and whole % 2 == 1))


VENDOR = Vendor(
    name="xai",
    base_url="https://api.x.ai/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(Dialect(reasoning_apart=True, cost_nanos=cost_nanos), provider="xai"),
        "openai_responses": OpenAIResponses(Dialect(cost_nanos=cost_nanos), provider="xai"),
    },
    credential_variables=("XAI_API_KEY",),
)
