"""AWS's event stream: binary frames with typed headers, each guarded by two checksums.

A frame is its length, its headers' length and the checksum of both, then headers, payload, and the checksum of all.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FRAME_BYTES_MAX: Final = 24 * 1024 * 1024
"""The protocol's own limit: 16 MB of payload and 128 KB of headers, with room."""

_PRELUDE_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 4
_FIXED_BYTES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of a header's value by its type: true, false, byte, short, int, long, timestamp, uuid."""
_BYTES_TYPE: Final = 6
_TEXT_TYPE: Final = 7


class BrokenFrame(ValueError):
    """A frame whose checksum or structure is wrong: nothing after it can be trusted."""


@dataclass(slots=True)
class Frame:
    """One frame. Headers that are no text are passed over."""

    headers: dict[str, str]
    payload: bytes


class FrameDecoder:
    """Frames from bytes that may be split anywhere."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises BrokenFrame when it comes to one."""
        self._buffer += data
        while len(self._buffer) >= _PRELUDE_BYTES:
            total, headers_bytes, checksum = struct.unpack_from(">III", self._buffer)
            if zlib.crc32(self._buffer[: _PRELUDE_BYTES - _CHECKSUM_BYTES]) != checksum:
                raise BrokenFrame("a frame's prelude has a wrong checksum")
            if not _PRELUDE_BYTES + headers_bytes + _CHECKSUM_BYTES <= total <= FRAME_BYTES_MAX:
                raise BrokenFrame(f"a frame claims {total} bytes")
            if len(self._buffer) < total:
                return
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            yield _frame(frame, headers_bytes)

    def left(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)


def _frame(frame: bytes, headers_bytes: int) -> Frame:
    (checksum,) = struct.unpack_from(">I", frame, len(frame) - _CHECKSUM_BYTES)
    if zlib.crc32(frame[:-_CHECKSUM_BYTES]) != checksum:
        raise BrokenFrame("a frame has a wrong checksum")
    end = _PRELUDE_BYTES + headers_bytes
    return Frame(_headers(frame[_PRELUDE_BYTES:end]), frame[end:-_CHECKSUM_BYTES])


def _headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    position = 0
    try:
        while position < len(data):
            name_end = position + 1 + data[position]
            name = data[position + 1 : name_end].decode("utf-8", "replace")
            kind = data[name_end]
            position = name_end + 1
            if kind in (_BYTES_TYPE, _TEXT_TYPE):
                (size,) = struct.unpack_from(">H", data, position)
                position += 2
                if kind == _TEXT_TYPE:
                    headers[name] = data[position : position + size].decode("utf-8", "replace")
                position += size
            else:
                position += _FIXED_BYTES[kind]
    except (IndexError, KeyError, struct.error):
        raise BrokenFrame("a frame's headers are broken") from None
    return headers


def encode_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """A frame with text headers, as a server sends it."""
    packed = b"".join(
        bytes((len(name.encode()),))
        + name.encode()
        + bytes((_TEXT_TYPE,))
        + struct.pack(">H", len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    total = _PRELUDE_BYTES + len(packed) + len(payload) + _CHECKSUM_BYTES
    prelude = struct.pack(">II", total, len(packed))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + payload
    return frame + struct.pack(">I", zlib.crc32(frame))
