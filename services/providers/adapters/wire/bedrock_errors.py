"""Amazon Bedrock's errors: the kind is in a header, the body says little more than a message."""

from collections.abc import Mapping
from typing import Final

from services.providers.adapters.wire.aws_event_stream import Frame
from services.providers.adapters.wire.body import decode, obj, text
from services.providers.domain.classify import vendor_error
from services.providers.domain.failure import AttemptError
from services.providers.ports import Headers

_STATUS_OF_EXCEPTION: Final = {
    "internalserverexception": 500,
    "modelstreamerrorexception": 424,
    "validationexception": 400,
    "throttlingexception": 429,
    "serviceunavailableexception": 503,
    "modeltimeoutexception": 408,
}
"""Exceptions inside a stream carry no status; these are the ones they have outside."""


def parse_error_body(status: int, headers: Headers, body: bytes) -> AttemptError:
    """What an answer of an error status means."""
    try:
        said = obj(decode(body))
    except ValueError:
        said = {}
    # "ValidationException:http://internal.amazon.com/…": the rest says nothing.
    kind = headers.get("x-amzn-errortype", "").partition(":")[0] or _kind(said)
    return _error(kind, said, status, headers)


def exception_of(frame: Frame, headers: Headers) -> AttemptError:
    """What an exception frame inside a stream means."""
    try:
        said = obj(decode(frame.payload))
    except ValueError:
        said = {}
    kind = frame.headers.get(":exception-type") or frame.headers.get(":error-code", "")
    if not text(said.get("message")) and frame.headers.get(":error-message"):
        said = {"message": frame.headers[":error-message"]}
    return _error(kind, said, _STATUS_OF_EXCEPTION.get(kind.lower(), 0), headers)


def _kind(said: Mapping[str, object]) -> str:
    kind = text(said.get("__type")) or text(said.get("code"))
    return kind.rpartition("#")[2]


def _error(kind: str, said: Mapping[str, object], status: int, headers: Headers) -> AttemptError:
    message = text(said.get("message")) or text(said.get("Message")) or text(said.get("originalMessage"))
    return vendor_error(status, headers, words=(kind,), message=message, code=kind)
