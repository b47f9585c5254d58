import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.auth import jwt
from google.oauth2 import service_account

from services.providers.adapters.google_access import LIFETIME_S, GoogleCloud, signed_token
from services.providers.domain.failure import AttemptError
from services.providers.ports import HttpRequest

google_jwt: Any = jwt  # it has no types
NOW_S = 1_795_000_000
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


ACCOUNT = {
    "type": "service_account",
    "client_email": "router@example.iam.gserviceaccount.com",
    "private_key_id": "key-1",
    "private_key": pem(KEY),
    "token_uri": "https://oauth2.googleapis.com/token",
}


def authorised(access: GoogleCloud, secret: str) -> str:
    request = HttpRequest("/x", b"{}")
    assert access.authorise(request, "https://example.com/x", secret) == "https://example.com/x"
    return request.headers.get("authorization", "")


def test_the_token_is_what_googles_own_library_makes() -> None:
    ours = signed_token(json.dumps(ACCOUNT), NOW_S)
    claims = google_jwt.decode(ours, verify=False)
    header = google_jwt.decode_header(ours)
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        ACCOUNT, scopes=[claims["scope"]], always_use_jwt_access=True
    )
    credentials._create_self_signed_jwt(None)
    credentials._jwt_credentials.refresh(None)
    theirs = credentials._jwt_credentials.token
    assert header == google_jwt.decode_header(theirs)
    their_claims = google_jwt.decode(theirs, verify=False)
    assert claims.keys() == their_claims.keys()
    for name in ("iss", "sub", "scope"):
        assert claims[name] == their_claims[name]
    assert claims["exp"] - claims["iat"] == LIFETIME_S
    signed, _, signature = ours.rpartition(".")
    proof = base64.urlsafe_b64decode(signature + "==")
    KEY.public_key().verify(proof, signed.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_a_token_is_signed_once_and_again_before_it_ends() -> None:
    now = [float(NOW_S)]
    access = GoogleCloud(clock=lambda: now[0])
    first = authorised(access, json.dumps(ACCOUNT))
    now[0] += 3_200
    assert authorised(access, json.dumps(ACCOUNT)) == first
    now[0] += 200
    assert authorised(access, json.dumps(ACCOUNT)) != first


def test_an_access_token_is_sent_as_it_is_and_none_is_none() -> None:
    assert authorised(GoogleCloud(), "ya29.token") == "Bearer ya29.token"
    assert authorised(GoogleCloud(), "") == ""


@pytest.mark.parametrize(
    "secret",
    [
        "{",
        "{}",
        json.dumps({**ACCOUNT, "private_key": "none"}),
        json.dumps({**ACCOUNT, "private_key": 7}),
        json.dumps({**ACCOUNT, "private_key": pem(ec.generate_private_key(ec.SECP256R1()))}),
    ],
)
def test_a_broken_account_is_an_error_without_the_secret_in_it(secret: str) -> None:
    with pytest.raises(AttemptError) as told:
        authorised(GoogleCloud(), secret)
    assert "PRIVATE KEY" not in told.value.failure.message
