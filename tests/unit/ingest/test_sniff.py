"""Kinds by signature first, header second."""

import io
import wave

import pytest
from PIL import Image

from ingest.sniff import sniff


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, kind)
    return file.getvalue()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(1600))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("header", ["image/x", "text/html", None])
def test_pictures_are_known_by_their_bytes(kind: str, header: str | None) -> None:
    if kind == "bmp" and header != "image/x":
        pytest.skip("two letters are no proof against the header")
    found = sniff(picture(kind), header)
    assert (found.kind, found.content_type) == ("image", f"image/{kind}")


@pytest.mark.parametrize(
    ("payload", "header", "kind", "content_type"),
    [
        (sound(), "application/octet-stream", "audio", "audio/wav"),
        (b"OggS\x00\x02" + bytes(60), "audio/ogg", "audio", "audio/ogg"),
        (b"OggS\x00\x02" + bytes(60), None, "audio", "audio/ogg"),
        (b"\x00\x00\x00\x1cftypM4A \x00\x00\x02\x00" + bytes(20), None, "audio", "audio/mp4"),
        (b"\x00\x00\x00\x1cftypisom\x00\x00\x02\x00" + bytes(20), "application/octet-stream", "video", "video/mp4"),
        (b"\xff\xfb\x90\x00" + bytes(400), "audio/mpeg", "audio", "audio/mpeg"),
        (b"ID3\x04\x00\x00\x00\x00\x00#TSSE" + bytes(60), None, "audio", "audio/mpeg"),
        (b"<!DOCTYPE html><p>404 not found", "image/png", "html", "text/html"),
        (b"<p>fragment</p>", "text/html; charset=utf-8", "html", "text/html"),
        (b"# Title", "text/markdown", "markdown", "text/markdown"),
        (b"plain words", "text/plain", "text", "text/plain"),
        (b"plain words", None, "text", "text/plain"),
        (b"BMW is a maker of cars", "text/plain", "text", "text/plain"),
        (b"%PDF-1.7 ...", "application/pdf", "pdf", "application/pdf"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", "other", "image/svg+xml"),
        (b'{"a": 1}', "application/json", "other", "application/json"),
        (bytes(range(256)) * 4, "text/html", "other", "application/octet-stream"),
    ],
)  # fmt: skip
def test_kinds(payload: bytes, header: str | None, kind: str, content_type: str) -> None:
    found = sniff(payload, header)
    assert (found.kind, found.content_type) == (kind, content_type)


def test_a_name_tells_markdown_from_text() -> None:
    assert sniff(b"# Title", "text/plain", "file:///a/README.md").kind == "markdown"
