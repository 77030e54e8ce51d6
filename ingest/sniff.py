"""What a payload is, by its bytes before its header."""

from dataclasses import dataclass

import puremagic

from ingest.charset import is_binary

HEAD_BYTES = 8192
MIN_CONFIDENCE = 0.3  # below it (two-byte signatures) the header must agree
HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))
MARKDOWN_TYPES = frozenset(("text/markdown", "text/x-markdown"))
CONTAINERS = frozenset(
    ("application/ogg", "video/ogg", "audio/ogg", "video/mp4", "audio/mp4", "video/webm", "audio/webm")
)
AUDIO_BRANDS = (b"M4A ", b"M4B ", b"F4A ")
NAMES = {  # puremagic's names → the registered ones
    "audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "audio/vnd.wave": "audio/wav", "audio/x-aiff": "audio/aiff",
    "image/x-ms-bmp": "image/bmp", "image/x-icon": "image/vnd.microsoft.icon", "image/jpg": "image/jpeg",
    "application/ogg": "audio/ogg", "audio/mp3": "audio/mpeg", "audio/x-flac": "audio/flac",
}  # fmt: skip


@dataclass(frozen=True)
class Sniffed:
    """What a payload turned out to be; `kind` is html, markdown, text, pdf, image, audio, video or other."""

    kind: str
    content_type: str


def sniff(payload: bytes, content_type: str | None, url: str = "") -> Sniffed:
    """Decide a payload's kind from its signature; text, which has none, by its header and name."""
    header = (content_type or "").partition(";")[0].strip().lower()
    media = _media(payload, header)
    if media is not None:
        return media
    head = payload[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"%pdf-") or (header == "application/pdf" and b"%pdf-" in head):  # some begin with rubbish
        return Sniffed("pdf", "application/pdf")
    if head.startswith(b"<svg") or (b"<svg" in head[:300] and head.startswith(b"<?xml")):
        return Sniffed("other", "image/svg+xml")
    if is_binary(payload):
        return Sniffed("other", "application/octet-stream")
    if header in HTML_TYPES or head.startswith((b"<!doctype html", b"<html")):
        return Sniffed("html", header if header in HTML_TYPES else "text/html")
    if header in MARKDOWN_TYPES or url.lower().endswith((".md", ".markdown")):
        return Sniffed("markdown", "text/markdown")
    if header == "text/plain" or not header:
        return Sniffed("text", "text/plain")
    return Sniffed("other", header)


def _media(payload: bytes, header: str) -> Sniffed | None:
    """Return the image, audio or video type whose signature the payload carries, or None."""
    try:
        found = puremagic.magic_string(payload[:HEAD_BYTES])
    except (puremagic.PureError, ValueError):
        return None
    main = header.partition("/")[0]
    for match in found:
        kind = _name(match.mime_type).partition("/")[0]
        if kind in ("image", "audio", "video") and (match.confidence >= MIN_CONFIDENCE or kind == main):
            return _told_apart(_name(match.mime_type), payload, header)
        if match.confidence >= MIN_CONFIDENCE and match.mime_type.startswith(("text/", "application/pdf")):
            return None
    return None


def _told_apart(name: str, payload: bytes, header: str) -> Sniffed | None:
    if name == "image/svg+xml":
        return None
    if name in CONTAINERS:  # these hold sound or film: the brand tells, else the header, else what is usual
        base = name.partition("/")[2]
        main = header.partition("/")[0]
        sound = payload[8:12] in AUDIO_BRANDS if base == "mp4" else base == "ogg"
        main = main if main in ("audio", "video") else "audio" if sound else "video"
        return Sniffed(main, f"{main}/{base}")
    return Sniffed(name.partition("/")[0], name)


def _name(mime_type: str) -> str:
    return NAMES.get(mime_type, mime_type)
