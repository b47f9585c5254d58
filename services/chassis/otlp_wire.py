"""Spans as OTLP bytes, written by hand.

Protobuf's own objects cost 25 µs a span; most of that is making messages that are thrown away at once. A span's shape
never changes, so its bytes are written directly, and those of an attribute are remembered: nearly all are the same in
one span after another (a model, an organisation, a status). Field numbers are those of opentelemetry/proto/trace/v1;
the tests parse what is written here with the generated code and compare.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct, pack

from services.chassis.tracing import AttributeValue, Span

SHORT = 128  # a varint below it is one byte
_STATUS_ERROR = b"\x18\x02"  # Status.code = 3: STATUS_CODE_ERROR
_IDS = Struct(">BBQQBBQ")  # trace_id, 16 bytes, and span_id, 8, each behind its tag and length
_PARENT = Struct(">BBQ")
_TIMES = Struct("<BQBQ")
_WORD = 2**64 - 1
_KNOWN_MAX = 2048  # attributes of at most some 300 bytes: what a service says over and over, and ids of late


def request(resource: bytes, spans: list[bytes]) -> bytes:
    """An ExportTraceServiceRequest of `spans`, for the serialised Resource `resource`."""
    scope = _field(b"\x0a", _field(b"\x0a", b"turnpike"))
    scope_spans = scope + b"".join([_field(b"\x12", span) for span in spans])
    return _field(b"\x0a", _field(b"\x0a", resource) + _field(b"\x12", scope_spans))


def encode(span: Span) -> bytes:
    """An ended span as a serialised opentelemetry.proto.trace.v1.Span."""
    trace_id, parent_id = span.trace_id, span.parent_id
    parts = [
        _IDS.pack(0x0A, 16, trace_id >> 64, trace_id & _WORD, 0x12, 8, span.span_id),
        _PARENT.pack(0x22, 8, parent_id) if parent_id else b"",
        _field(b"\x2a", span.name.encode()),
        b"\x30%c" % span.kind,
        _TIMES.pack(0x39, span.start_ns, 0x41, span.end_ns),
    ]
    _write(parts, b"\x4a", span.attributes)
    for name, time_ns, attributes in span.events:
        event = [pack("<BQ", 0x09, time_ns), _field(b"\x12", name.encode())]
        _write(event, b"\x1a", attributes)
        parts.append(_field(b"\x5a", b"".join(event)))
    if span.events_dropped:
        parts.append(b"\x60" + _varint(span.events_dropped))
    if span.error_description is not None:
        parts.append(_field(b"\x7a", _field(b"\x12", span.error_description.encode()) + _STATUS_ERROR))
    return b"".join(parts)


def _write(parts: list[bytes], tag: bytes, attributes: Mapping[str, AttributeValue]) -> None:
    """Appends attributes: KeyValue messages, each behind `tag`."""
    for name, value in attributes.items():
        parts.append(tag)
        if isinstance(value, int) or (isinstance(value, str) and len(value) < SHORT):
            parts.append(_known(name, value))
        else:
            parts.append(_attribute(name, value))


def _attribute(name: str, value: AttributeValue) -> bytes:
    content = _field(b"\x0a", name.encode()) + _field(b"\x12", _value(value))
    return _varint(len(content)) + content


_known = lru_cache(_KNOWN_MAX, typed=True)(_attribute)  # typed: 1 is not True, though they are equal


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
    size = len(content)
    return b"%b%c%b" % (tag, size, content) if size < SHORT else tag + _varint(size) + content


def _varint(number: int) -> bytes:
    if number < SHORT:
        return b"%c" % number
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
