import struct
import zlib

import pytest

from services.tokens import media
from services.tokens.families import guess_tokenizer


def png(width: int, height: int) -> bytes:
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(header))
    )


def jpeg(width: int, height: int) -> bytes:
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"note"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + comment + frame


def webp(kind: bytes, payload: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + payload + bytes(16)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (jpeg(1024, 768), (1024, 768)),
        (b"GIF89a" + struct.pack("<HH", 10, 20), (10, 20)),
        (webp(b"VP8X", bytes(4) + (99).to_bytes(3, "little") + (49).to_bytes(3, "little")), (100, 50)),
        (webp(b"VP8L", b"\x2f" + ((63 << 14) | 127).to_bytes(4, "little")), (128, 64)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 320, 200)), (320, 200)),
    ],
)
def test_reads_sizes_from_headers(data: bytes, size: tuple[int, int]) -> None:
    found = media.image_size(data)
    assert found is not None
    assert (found.width, found.height) == size


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", png(0, 5), b"\xff\xd8\xff\xff"]
)
def test_what_has_no_readable_size_has_none(data: bytes) -> None:
    assert media.image_size(data) is None


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        # The vendor's own examples: 1024 × 1024 is 765, 2048 × 4096 is 1105, low is 85.
        (media.Size(1024, 1024), "high", 765),
        (media.Size(2048, 4096), "high", 1105),
        (media.Size(4096, 8192), "low", 85),
    ],
)
def test_openai_tiles(size: media.Size, detail: str, tokens: int) -> None:
    assert media.MEDIA_FORMULAS["openai_tiles"].image(size, detail) == (tokens, tokens)


def test_claude_charges_area_up_to_a_cap() -> None:
    formula = media.MEDIA_FORMULAS["claude"].image
    assert formula(media.Size(1000, 1000), "")[0] == 1334
    assert formula(media.Size(8000, 8000), "")[1] == formula(None, "")[1]


def test_pages_are_counted_or_bounded() -> None:
    assert media.pdf_pages(b"/Type /Pages /Type /Page /Type/Page\n") == (2, 2)
    hiding = b"/Type /Page /Type /ObjStm" + bytes(100_000)
    assert media.pdf_pages(hiding)[1] == media.pdf_pages(bytes(len(hiding)))[1] > 1
    estimate, bound = media.pdf_pages(bytes(100_000))
    assert 1 <= estimate <= bound <= media.PDF_PAGES_MAX


def test_sound_is_as_long_as_its_header_says() -> None:
    header = (
        b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + bytes(8)
    )
    assert media.audio_seconds(header + bytes(32_000 - len(header))) == (2.0, 2.0)
    boasting = header.replace(struct.pack("<I", 16000), struct.pack("<I", 1 << 30))
    assert media.audio_seconds(boasting + bytes(32_000 - len(header))) == (2.0, 2.0)
    broadcast = header[:12] + b"bext" + struct.pack("<I", 601) + bytes(602) + header[12:]
    assert media.audio_seconds(broadcast + bytes(32_000 - len(broadcast))) == (2.0, 2.0)
    compressed = header.replace(struct.pack("<IH", 16, 1), struct.pack("<IH", 16, 0x31))
    assert media.audio_seconds(compressed + bytes(32_000 - len(compressed)))[1] == 32.0


@pytest.mark.parametrize(
    ("model", "tokenizer"),
    [
        ("openai/gpt-5.4-mini", "o200k_large"),
        ("gpt-4o-mini-2024-07-18", "o200k_mini_tiles"),
        ("gpt-4", "cl100k"),
        ("openai.gpt-oss-120b-1:0", "gpt_oss"),
        ("us.anthropic.claude-opus-4-7-v1:0", "claude_2026"),
        ("claude-sonnet-4-5-20250929", "claude"),
        ("claude-3-haiku-20240307", "claude"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama3"),
        ("somebody/something", "bytes"),
    ],
)
def test_families_are_recognised(model: str, tokenizer: str) -> None:
    assert guess_tokenizer(model) == tokenizer
