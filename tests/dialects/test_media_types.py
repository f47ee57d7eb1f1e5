from __future__ import annotations

from base64 import b64encode

import pytest

from midstream.conversation import MediaPart
from midstream.dialects.media_types import image_type, media_type


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"BM\x00", "image/bmp"),
        (b"nothing", ""),
    ],
)
def test_an_image_by_its_first_bytes(start: bytes, name: str) -> None:
    assert image_type(b64encode(start + b"\0" * 8).decode()) == name


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (MediaPart("image", "image/x", "/9j/"), "image/x"),
        (MediaPart("image", data="/9j/"), "image/jpeg"),
        (MediaPart("audio", data="AAAA"), "audio/wav"),
        (MediaPart("file", url="https://x.test/a/b.PDF?c=d.png"), "application/pdf"),
        (MediaPart("image", url="https://x.test/a"), "image/jpeg"),
        (MediaPart("file", url="https://[x"), "application/octet-stream"),
    ],
)
def test_what_a_part_is(part: MediaPart, name: str) -> None:
    assert media_type(part) == name
