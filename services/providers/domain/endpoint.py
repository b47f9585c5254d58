"""One place where a model can be called, and the rules for what may be an address."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.providers.domain.profile import ModelProfile
from turnpike.common.v1 import content_pb2

CONCURRENCY_DEFAULT = 512
"""Calls at the same time to one endpoint, where nothing else is said: above what a key's rate limit lets through."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds. An attempt may bring its own."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    """Reasoning models think before they say anything."""
    idle_s: float = 60.0
    total_s: float = 900.0


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint with all that is needed to call it, except the secret."""

    endpoint_id: str
    model: str
    """`provider/model`."""
    provider: str
    wire_format: str
    base_url: str
    """Without a trailing slash."""
    vendor_model: str
    region: str = ""
    weight: float = 1.0
    concurrency_max: int = CONCURRENCY_DEFAULT
    credential_id: str = ""
    """Empty: the provider's pool."""
    needs_credential: bool = True
    disabled: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    profile: ModelProfile = field(default_factory=ModelProfile)
    tokenizer: str = ""

    @property
    def is_private(self) -> bool:
        """True if it is in our own network, so that what it fetches, it fetches from within."""
        return is_private_host(urlsplit(self.base_url).hostname or "")


def is_private_host(host: str) -> bool:
    """True for loopback, private and link-local addresses and for names without a public domain."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((".localhost", ".local", ".internal", ".svc", ".lan"))
    return not address.is_global


def base_url_problem(url: str, *, allow_private_http: bool) -> str | None:
    """What is wrong with a base URL, as a sentence; None if nothing is.

    Only admins and operators give base URLs. https goes anywhere; plain http only to our own network, if the
    deployment says so, for it would carry credentials in the open.
    """
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        return "is not a URL"
    if not port_is_number or not parts.hostname or parts.scheme not in ("http", "https"):
        return "must be an http or https URL with a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "must hold no user, password, query or fragment"
    if parts.scheme == "http" and not (allow_private_http and is_private_host(parts.hostname)):
        return "must be https; http is for private addresses of deployments that allow it"
    return None


def forbidden_content_url(given: content_pb2.GenerationInput, endpoint: EndpointSpec) -> str | None:
    """Why a URL in the content must not go to `endpoint`; None if all may.

    Turnpike fetches none itself. A vendor does so from its own network; a server of ours would do it from within ours,
    where an application could make it ask for what it may not see.
    """
    for message in given.messages:
        for part in message.parts:
            inner = part.tool_result.parts if part.WhichOneof("kind") == "tool_result" else (part,)
            for piece in inner:
                kind = piece.WhichOneof("kind")
                if kind not in ("image", "audio", "file"):
                    continue
                media: content_pb2.MediaPart = getattr(piece, kind)
                if media.WhichOneof("source") != "url":
                    continue
                if endpoint.is_private:
                    return f"{kind}.url: an endpoint of the deployment's own network fetches no URLs; send the bytes"
                if not media.url.startswith("https://") or is_private_host(
                    urlsplit(media.url).hostname or ""
                ):
                    return f"{kind}.url: must be an https URL of a public host"
    return None
