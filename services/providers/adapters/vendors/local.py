"""A server of one's own that speaks chat completions; an endpoint brings its address."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="local",
    base_url="",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(top_k=True, user=""), provider="local")},
    credential_variables=(),
)
