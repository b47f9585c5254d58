"""How credentials are put on requests: bearer token, a header of the vendor's, none."""

from dataclasses import dataclass

from services.providers.ports import HttpRequest


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer …`; nothing if there is no secret, as local servers want it."""

    def authorise(self, request: HttpRequest, url: str, secret: str) -> str:
        """Adds the header."""
        if secret:
            request.headers["authorization"] = f"Bearer {secret}"
        return url


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """The secret alone in a header of the vendor's name, in lower case: `x-api-key`, `x-goog-api-key`, `api-key`."""

    header: str

    def authorise(self, request: HttpRequest, url: str, secret: str) -> str:
        """Adds the header."""
        if secret:
            request.headers[self.header] = secret
        return url
