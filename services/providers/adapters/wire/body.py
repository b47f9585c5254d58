"""Reading and writing JSON bodies, tolerant in what is read, exact in what is written."""

import base64
import json
from functools import lru_cache
from typing import Any, Final

import msgspec
from google.protobuf import struct_pb2

from services.providers.domain.failure import unreadable
from turnpike.common.v1 import content_pb2

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

SCHEMAS_CACHED_MAX: Final = 256
"""Tool schemas repeat from call to call; this many are kept in their JSON form."""
SCHEMA_CACHED_BYTES_MAX: Final = 64 << 10
"""A larger schema is converted anew each time rather than kept."""


BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Begins what some servers on Windows, and proxies, send."""


def encode(value: object) -> bytes:
    """`value` as compact JSON."""
    return _encoder.encode(value)


def encode_text(value: object) -> str:
    """`value` as compact JSON text."""
    return _encoder.encode(value).decode()


def decode(data: bytes | str) -> Any:
    """`data` as Python values. Raises ValueError.

    What the strict reader refuses and vendors nevertheless send (lone surrogates, NaN, a byte that is no UTF-8) is read
    by the lenient one, with U+FFFD where no character can be.
    """
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        text = data.decode("utf-8-sig", "replace") if isinstance(data, bytes) else data
        return _without_surrogates(json.loads(text))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def decode_object(body: bytes) -> dict[str, Any]:
    """`body` as a JSON object. Raises AttemptError(VENDOR_PROTOCOL_ERROR) if it is none."""
    try:
        value = decode(body)
    except ValueError:
        raise unreadable(f"The vendor's answer is not JSON; it begins with {_head(body)}.") from None
    if not isinstance(value, dict):
        raise unreadable("The vendor's answer is JSON, but not an object.")
    return value


def _head(body: bytes) -> str:
    """What kind of thing a body is, without quoting it: it may hold what a model said."""
    start = body[:64].lstrip().lower()
    if not start:
        return "nothing"
    return "HTML" if start.startswith((b"<!doctype", b"<html")) else f"byte {start[0]:#04x}"


def text(value: object) -> str:
    """`value` if it is text, else empty."""
    return value if isinstance(value, str) else ""


def obj(value: object) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def arr(value: object) -> list[Any]:
    """`value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def struct_json(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as JSON values; whole numbers become integers again, for `"minimum": 1.0` is refused by some.

    Keys are in the order of the alphabet: a Struct keeps none, and vendors' prompt caches match on bytes.
    """
    size = struct.ByteSize()
    if size > SCHEMA_CACHED_BYTES_MAX:
        return _struct(struct)
    return _cached_struct(struct.SerializeToString(deterministic=False))


@lru_cache(maxsize=SCHEMAS_CACHED_MAX)
def _cached_struct(serialized: bytes) -> dict[str, Any]:
    return _struct(struct_pb2.Struct.FromString(serialized))


def _struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _value(value) for key, value in sorted(struct.fields.items())}


def _value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _struct(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case _:
            return None


INDEX_MAX: Final = 1_023
"""No vendor numbers choices or vectors higher in one answer; what is above is a mistake and counts as unsaid."""


def index_or(value: object, otherwise: int) -> int:
    """`value` if it can be the number of a choice or a vector, else `otherwise`: its place."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= INDEX_MAX:
        return otherwise
    return value


def numbers(value: object) -> list[float]:
    """A vector as JSON numbers. Raises AttemptError(VENDOR_PROTOCOL_ERROR) if it is none."""
    if not isinstance(value, list) or not all(type(number) in (int, float) for number in value):
        raise unreadable("A vector of the vendor's answer is no list of numbers.")
    return [float(number) for number in value]


def base64_text(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def data_url(media: content_pb2.MediaPart) -> str:
    """The part's bytes as a data URL."""
    return f"data:{media.media_type or 'application/octet-stream'};base64,{base64_text(media.data)}"


def media_of_data_url(url: str) -> content_pb2.MediaPart:
    """A picture a vendor sent as a data URL, or its https URL as it is."""
    head, comma, tail = url.partition(",")
    if not comma or not head.startswith("data:"):
        return content_pb2.MediaPart(url=url)
    try:
        data = base64.b64decode(tail, validate=False)
    except ValueError:
        return content_pb2.MediaPart(url=url)
    return content_pb2.MediaPart(data=data, media_type=head[5:].split(";", 1)[0])
