"""Cohere."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.cohere import CohereChat
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="cohere",
    base_url="https://api.cohere.com",
    access=Bearer(),
    formats={"cohere_chat": CohereChat()},
    credential_variables=("COHERE_API_KEY", "CO_API_KEY"),
)
