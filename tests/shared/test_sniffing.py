"""What a file is by its bytes."""

import pytest

from shared.sniffing import SHOWN, kind_of, media_type_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"), (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"), (b"GIF89a....", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"), (b"%PDF-1.7\n", "application/pdf"), (b"OggS\x00", "audio/ogg"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"), (b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        (b"<html><script>alert(1)</script>", "text/html"), (b"\xef\xbb\xbf \n<!DOCTYPE HTML>", "text/html"),
        (b"<svg onload=alert(1)>", "image/svg+xml"), (b"<?xml version='1.0'?><svg>", "image/svg+xml"),
        (b"<!-- x --><svg>", "image/svg+xml"), (b"<?xml version='1.0'?><feed/>", "text/xml"),
        ("Grüße aus Wien\n".encode(), "text/plain"), (b"", "text/plain"),
        (b"\x00\x01\x02\x03\xff\xfe\xfd", "application/octet-stream"),
    ],
)  # fmt: skip
def test_bytes_say_what_they_are(content: bytes, media_type: str) -> None:
    assert media_type_of(content) == media_type


def test_a_name_never_makes_a_page_a_picture() -> None:
    assert media_type_of(b"<html>", "holiday.png") == "text/html"


def test_a_long_text_may_be_cut_inside_a_character() -> None:
    assert media_type_of("ä".encode() * 40_000) == "text/plain"
    assert media_type_of(b"a" + "ä".encode() * 40_000) == "text/plain"


def test_kinds_are_those_that_people_look_at_or_listen_to() -> None:
    assert [kind_of(t) for t in ("image/png", "audio/ogg", "video/mp4", "image/svg+xml", "application/pdf", "")] == [
        "image", "audio", "video", "file", "file", "file",
    ]  # fmt: skip
    assert not SHOWN & {"text/html", "image/svg+xml", "text/xml", "application/pdf"}
