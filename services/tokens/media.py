"""Pictures, sound and documents in tokens, by the vendors' published formulas.

Sizes come from the file's own header. Where it cannot be read (a URL, an unknown type) the estimate is a middling
size and the bound is the most the vendor ever charges for one.
"""

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PDF_PAGES_MAX: Final = 1_000
"""No vendor takes more pages in one request."""

PDF_PAGE_BYTES_MIN: Final = 1_000
"""A page in a PDF is hardly ever smaller; bounds the pages of a document whose index is compressed."""

PDF_PAGE_BYTES_TYPICAL: Final = 50_000

PDF_SCAN_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest request of any vendor; no more of a document is looked at."""

AUDIO_BYTES_PER_S_MIN: Final = 1_000
"""8 kbit/s: the thinnest speech codec in use; bounds the length of compressed sound."""

AUDIO_BYTES_PER_S_TYPICAL: Final = 16_000

WAV_CHUNKS_MAX: Final = 64
"""Chunks before the form of the samples; more has no file that a recorder wrote."""
_WAV_UNCOMPRESSED = frozenset({1, 3, 0xFFFE})
"""Whole numbers, floats, and the extended form of either."""

_PDF_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_PDF_HIDING = b"/ObjStm"
"""A stream of compressed objects: pages may be among them."""
_JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in pixels."""

    width: int
    height: int


def image_size(data: bytes) -> Size | None:
    """The size in the header of a PNG, GIF, JPEG or WebP; None for anything else or a broken one."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return _size(*struct.unpack(">II", data[16:24]))
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return _size(*struct.unpack("<HH", data[6:10]))
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return None


def _size(width: int, height: int) -> Size | None:
    return Size(width, height) if 0 < width <= 1 << 20 and 0 < height <= 1 << 20 else None


def _jpeg_size(data: bytes) -> Size | None:
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return _size(width, height)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        length = struct.unpack(">H", data[position + 2 : position + 4])[0]
        position += 2 + max(length, 2)
    return None


def _webp_size(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return _size(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return _size(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return _size((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    return None


def pdf_pages(data: bytes) -> tuple[int, int]:
    """Pages of a PDF: an estimate and a bound. Exact where no page can hide in a compressed stream of objects."""
    pages = len(_PDF_PAGE.findall(data[:PDF_SCAN_BYTES_MAX]))
    if pages and len(data) <= PDF_SCAN_BYTES_MAX and _PDF_HIDING not in data:
        return min(pages, PDF_PAGES_MAX), min(pages, PDF_PAGES_MAX)
    return (
        min(PDF_PAGES_MAX, max(pages, 1 + len(data) // PDF_PAGE_BYTES_TYPICAL)),
        min(PDF_PAGES_MAX, max(pages, 1 + len(data) // PDF_PAGE_BYTES_MIN)),
    )


def audio_seconds(data: bytes) -> tuple[float, float]:
    """Length of a sound: an estimate and a bound. Exact for WAV whose samples are not compressed."""
    bytes_per_s = _wav_bytes_per_s(data)
    if bytes_per_s:
        seconds = len(data) / bytes_per_s
        return seconds, seconds
    return len(data) / AUDIO_BYTES_PER_S_TYPICAL, len(data) / AUDIO_BYTES_PER_S_MIN


def _wav_bytes_per_s(data: bytes) -> int | None:
    """By the samples' form; the header's own field of bytes a second is believed by no player, and so not by us."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    position = 12
    for _ in range(WAV_CHUNKS_MAX):  # `fmt ` need not be the first
        if position + 24 > len(data):
            return None
        if data[position : position + 4] == b"fmt ":
            form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, position + 8)
            return rate * channels * bits // 8 if form in _WAV_UNCOMPRESSED else None
        length = int(struct.unpack_from("<I", data, position + 4)[0])
        position += 8 + length + length % 2
    return None


# ---- what one picture costs, by family ------------------------------------------------------------------------------
def _tiles(size: Size) -> int:
    """OpenAI's tiles: fitted into 2048 × 2048, the shorter side brought to 768, counted in squares of 512."""
    scale = min(1.0, 2048 / max(size.width, size.height))
    width, height = size.width * scale, size.height * scale
    scale = min(1.0, 768 / min(width, height))
    return math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _tiled(base: int, tile: int) -> Callable[[Size | None, str], tuple[int, int]]:
    tiles_max = 8  # 2048 × 768, the longest picture after fitting

    def tokens(size: Size | None, detail: str) -> tuple[int, int]:
        if detail == "low":
            return base, base
        if size is None:
            return base + 4 * tile, base + tiles_max * tile
        exact = base + tile * _tiles(size)
        return exact, exact

    return tokens


def _patched(multiplier: float, patches_max: int) -> Callable[[Size | None, str], tuple[int, int]]:
    """OpenAI's patches of 32 × 32, capped, times the model's multiplier."""

    def tokens(size: Size | None, detail: str) -> tuple[int, int]:
        bound = math.ceil(multiplier * patches_max)
        if size is None:
            return bound // 2, bound
        patches = min(patches_max, math.ceil(size.width / 32) * math.ceil(size.height / 32))
        exact = math.ceil(multiplier * patches)
        return exact, exact

    return tokens


def _area(pixels_per_token: float, tokens_max: int) -> Callable[[Size | None, str], tuple[int, int]]:
    """Claude's: pixels / 750 after shrinking, so never more than a cap; plus a margin for rounding up to patches."""

    def tokens(size: Size | None, detail: str) -> tuple[int, int]:
        if size is None:
            return tokens_max // 2, tokens_max
        exact = min(tokens_max, math.ceil(size.width * size.height / pixels_per_token))
        return exact, min(tokens_max, exact + exact // 4 + 64)

    return tokens


def _gemini(size: Size | None, detail: str) -> tuple[int, int]:
    """Gemini 2: 258 up to 384 × 384, else 258 a tile; Gemini 3: 1,120 at its default resolution, 2,240 at its best."""
    if size is None:
        return 1_120, 2_400
    if max(size.width, size.height) <= 384:
        return 258, 1_200
    return 1_120, 2_400


def _unknown(size: Size | None, detail: str) -> tuple[int, int]:
    """A vendor without a published formula: the dearest of the known ones."""
    return 1_200, 8_192


@dataclass(frozen=True, slots=True)
class MediaFormula:
    """What pictures, pages and seconds cost in one family: each as estimate and bound."""

    image: Callable[[Size | None, str], tuple[int, int]]
    page: tuple[int, int]
    audio_second: tuple[float, float]


MEDIA_FORMULAS: Final[Mapping[str, MediaFormula]] = {
    "openai_tiles": MediaFormula(_tiled(85, 170), (1_500, 5_000), (10, 20)),
    "openai_tiles_mini": MediaFormula(_tiled(2_833, 5_667), (30_000, 60_000), (10, 20)),
    "openai_patches_mini": MediaFormula(_patched(1.62, 1_536), (1_500, 5_000), (10, 20)),
    "openai_patches_nano": MediaFormula(_patched(2.46, 1_536), (1_500, 5_000), (10, 20)),
    "openai_patches_large": MediaFormula(_patched(1.2, 2_500), (1_500, 5_000), (10, 20)),
    "claude": MediaFormula(_area(750, 1_700), (2_500, 5_000), (32, 64)),
    "claude_large": MediaFormula(_area(750, 4_900), (3_500, 9_000), (32, 64)),
    "gemini": MediaFormula(_gemini, (400, 1_200), (32, 40)),
    "unknown": MediaFormula(_unknown, (2_500, 9_000), (32, 100)),
}
"""By the name a tokenizer's profile gives."""
