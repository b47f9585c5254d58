"""Spans as OTLP bytes, written by hand.

Protobuf's own objects cost 25 µs a span; most of that is making messages that are thrown away at once. A span's shape
never changes, so its bytes are written directly, for 8. The field numbers are those of opentelemetry/proto/trace/v1;
the tests parse what is written here with the generated code and compare.
"""

from collections.abc import Mapping
from struct import pack

from services.chassis.tracing import AttributeValue, Span

_STATUS_ERROR = b"\x18\x02"  # Status.code = 3: STATUS_CODE_ERROR
_known_keys: dict[str, bytes] = {}  # attribute names are a closed set (attributes.py); bounded all the same
_KNOWN_KEYS_MAX = 1024


def request(resource: bytes, spans: list[bytes]) -> bytes:
    """An ExportTraceServiceRequest of `spans`, for the serialised Resource `resource`."""
    scope = _field(b"\x0a", _field(b"\x0a", b"turnpike"))
    scope_spans = scope + b"".join([_field(b"\x12", span) for span in spans])
    return _field(b"\x0a", _field(b"\x0a", resource) + _field(b"\x12", scope_spans))


def encode(span: Span) -> bytes:
    """An ended span as a serialised opentelemetry.proto.trace.v1.Span."""
    parts = [
        b"\x0a\x10" + span.trace_id.to_bytes(16, "big"),
        b"\x12\x08" + span.span_id.to_bytes(8, "big"),
        b"\x22\x08" + span.parent_id.to_bytes(8, "big") if span.parent_id else b"",
        _field(b"\x2a", span.name.encode()),
        b"\x30" + _varint(span.kind),
        pack("<BQ", 0x39, span.start_ns),
        pack("<BQ", 0x41, span.end_ns),
        _attributes(b"\x4a", span.attributes),
    ]
    for name, time_ns, attributes in span.events:
        event = pack("<BQ", 0x09, time_ns) + _field(b"\x12", name.encode()) + _attributes(b"\x1a", attributes)
        parts.append(_field(b"\x5a", event))
    if span.events_dropped:
        parts.append(b"\x60" + _varint(span.events_dropped))
    if span.error_description is not None:
        parts.append(_field(b"\x7a", _field(b"\x12", span.error_description.encode()) + _STATUS_ERROR))
    return b"".join(parts)


def _attributes(tag: bytes, attributes: Mapping[str, AttributeValue]) -> bytes:
    return b"".join(
        [_field(tag, _key(name) + _field(b"\x12", _value(value))) for name, value in attributes.items()]
    )


def _key(name: str) -> bytes:
    known = _known_keys.get(name)
    if known is None:
        known = _field(b"\x0a", name.encode())
        if len(_known_keys) < _KNOWN_KEYS_MAX:
            _known_keys[name] = known
    return known


def _value(value: AttributeValue) -> bytes:
    match value:
        case str():
            return _field(b"\x0a", value.encode())
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # two's complement, as int64 travels
        case float():
            return pack("<Bd", 0x21, value)
        case _:
            return _field(
                b"\x2a", b"".join([_field(b"\x0a", _field(b"\x0a", item.encode())) for item in value])
            )


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 128:
        return _ONE_BYTE[number]
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


_ONE_BYTE = [bytes([number]) for number in range(128)]
