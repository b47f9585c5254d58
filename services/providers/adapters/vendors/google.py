"""Google: Gemini at AI Studio, and Gemini and Claude on Vertex AI.

Vertex has no address of its own: an endpoint brings
`https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION`, and its credential is an access
token or the JSON of a service account.
"""

from services.providers.adapters.access import KeyHeader
from services.providers.adapters.google_access import GoogleCloud
from services.providers.adapters.wire.anthropic import AnthropicOnVertex
from services.providers.adapters.wire.gemini import Gemini
from services.providers.ports import Vendor

VENDORS = (
    Vendor(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        access=KeyHeader("x-goog-api-key"),
        formats={"gemini": Gemini()},
        credential_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    Vendor(
        name="vertex",
        base_url="",
        access=GoogleCloud(),
        formats={"gemini": Gemini(prefix="/publishers/google"), "vertex_anthropic": AnthropicOnVertex()},
        credential_variables=("VERTEX_CREDENTIAL", "VERTEX_ACCESS_TOKEN"),
    ),
)
