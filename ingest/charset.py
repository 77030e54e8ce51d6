"""From bytes to text: what the bytes themselves prove first, what they are declared to be second, a guess last."""

import codecs
import re

from charset_normalizer import from_bytes
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, read_bom, resolve_encoding

GUESS_BYTES = 64 << 10
MIN_GUESSED = 64  # bytes under which a guess is a lottery
MAX_BROKEN_SHARE = 0.02  # of a declared UTF-8 text that was cut or damaged in places
# The encodings of the web (WHATWG Encoding Standard, 4.2) by their names in Python, which has codecs that are no
# charsets (hex, idna, unicode_escape) and some that let lone surrogates through (utf-7).
CHARSETS = re.compile(
    r"ascii|utf-(8|16|32)(-[bl]e)?|iso8859-\d+|cp(866|874|932|949|950|125\d)|koi8-[rtu]|mac-(roman|cyrillic)|tis-620|hz"
    r"|gb(k|2312|18030)|big5(hkscs)?|euc_(jp|kr)|iso2022_(jp|kr)|shift_jis"
)
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
MAX_BINARY_SHARE = 0.02


def decode_text(payload: bytes, content_type: str | None) -> str:
    """Decode a page or text file: byte order mark, valid UTF-8, the HTTP header, the page's <meta>, then a guess.

    Undecodable bytes become U+FFFD; no input raises.
    """
    encoding, mark = read_bom(payload)
    if encoding is not None:
        return payload[len(mark or b"") :].decode(encoding, "replace")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        pass
    declared = _declared(payload, content_type)
    if declared is not None and declared != "utf-8":
        return payload.decode(declared, "replace")
    text = payload.decode("utf-8", "replace")
    if declared == "utf-8" and text.count("\ufffd") <= max(1, MAX_BROKEN_SHARE * len(text)):
        return text
    if len(payload) < MIN_GUESSED:
        return payload.decode("cp1252", "replace")
    best = from_bytes(payload[:GUESS_BYTES]).best()
    return payload.decode(best.encoding if best is not None else "utf-8", "replace")


def _declared(payload: bytes, content_type: str | None) -> str | None:
    header = http_content_type_encoding(content_type) if content_type else None
    name = header or html_body_declared_encoding(payload)
    resolved = resolve_encoding(name) if name else None  # browsers read gb2312 as gb18030, latin-1 as cp1252
    codec = codecs.lookup(resolved).name if resolved else ""
    return codec if CHARSETS.fullmatch(codec) else None


def is_binary(payload: bytes) -> bool:
    """Tell whether bytes that claim to be text hold too many control characters for it (marked UTF-16 aside)."""
    head = payload[:4096]
    if read_bom(head)[0] is not None:
        return False
    return len(BINARY.findall(head)) > MAX_BINARY_SHARE * max(len(head), 1)
