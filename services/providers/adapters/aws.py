"""How one gets in at AWS: requests signed by Signature Version 4, or a Bedrock API key as a bearer token."""

import json
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from services.providers.domain.failure import Reason, failed
from services.providers.ports import HttpRequest

_REGION_IN_HOST: Final = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.(?:amazonaws\.com|api\.aws)")
REGION_DEFAULT: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class AwsSigned:
    """Signs for one of AWS's services.

    The secret is JSON with `access_key_id`, `secret_access_key`, perhaps `session_token` and `region`; anything that is
    no JSON object is taken as a Bedrock API key and sent as a bearer token. Signing takes about 0.1 ms and no network.
    """

    service: str = "bedrock"

    def authorise(self, request: HttpRequest, url: str, secret: str) -> str:
        """Adds the signature to `request.headers`. Raises AttemptError for a secret that lacks a part."""
        if not secret.lstrip().startswith("{"):
            if secret:
                request.headers["authorization"] = f"Bearer {secret}"
            return url
        try:
            given = json.loads(secret)
            credentials = Credentials(
                given["access_key_id"], given["secret_access_key"], given.get("session_token")
            )
        except (ValueError, KeyError, TypeError):
            raise failed(
                Reason.ERROR_REASON_CREDENTIAL_MISSING,
                "The AWS credential is not JSON with access_key_id and secret_access_key.",
            ) from None
        region = given.get("region") or region_of(url)
        signed = AWSRequest(method=request.method, url=url, data=request.body, headers=request.headers)
        SigV4Auth(credentials, self.service, region).add_auth(signed)
        request.headers.update({name.lower(): value for name, value in signed.headers.items()})
        return url


def region_of(url: str) -> str:
    """The region in the name of an AWS host; the vendor's own default for other hosts."""
    match = _REGION_IN_HOST.search(urlsplit(url).hostname or "")
    return match[1] if match else REGION_DEFAULT
