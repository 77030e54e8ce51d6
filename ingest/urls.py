"""URLs by the WHATWG standard: one parser (ada-url) decides what a host is, everywhere."""

import hashlib
import mimetypes
import re
from urllib.parse import quote

import ada_url

from catalog.urls import canonical as canonical

TYPES = mimetypes.MimeTypes()  # without the machine's own tables, so that every machine says the same
for suffix, media_type in {
    ".md": "text/markdown", ".markdown": "text/markdown", ".webp": "image/webp", ".avif": "image/avif",
    ".flac": "audio/flac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/opus", ".m4a": "audio/mp4",
    ".weba": "audio/webm",
}.items():  # fmt: skip
    TYPES.add_type(media_type, suffix)

NO_TEXT = re.compile("[\udc80-\udcff]")  # bytes of a file name that are no UTF-8 (PEP 383)
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # what no line of a WARC header may hold
OUTSIDE = re.compile(BREAKS.pattern + "|[%<>\xa0]|^ | $")  # what else such a line loses, and what quoting itself adds
MAX_LENGTH = 64 << 10  # as long as a header of a foreign archive may be


def one_line(url: str) -> str:
    """Return a URL that a WARC header can hold: breaks and lone surrogates quoted, the end of a long one hashed."""
    if len(url) > MAX_LENGTH:
        url = f"{url[:MAX_LENGTH]}#sha256={hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return BREAKS.sub(_quote, url)


def quote_id(text: str) -> str:
    """Return a record's own identifier as a URL's fragment; two that differ stay different."""
    return OUTSIDE.sub(_quote, text)


def _quote(found: re.Match[str]) -> str:
    return quote(found[0], safe="", errors="surrogatepass")


def host_of(url: str) -> str:
    """Return host and port of a canonical URL, as one site is told from another; '' for a file URL."""
    return url.split("/", 3)[2]


def hostname_of(url: str) -> str:
    """Return the host of a canonical URL without its port and without IPv6 brackets."""
    return str(ada_url.URL(url).hostname).strip("[]")


def port_of(url: str) -> int:
    """Return the port that a canonical URL connects to."""
    parsed = ada_url.URL(url)
    return int(parsed.port) if parsed.port else 443 if parsed.protocol == "https:" else 80


def origin_of(url: str) -> str:
    """Return scheme, host and port: what one robots.txt speaks for."""
    return "/".join(url.split("/", 3)[:3])


def path_and_query(url: str) -> str:
    """Return what robots.txt rules are matched against."""
    parsed = ada_url.URL(url)
    return f"{parsed.pathname}{parsed.search}"


def file_url(path: str) -> str:
    """Return the file URL of an absolute POSIX path."""
    parsed = ada_url.URL("file:///")
    plain = path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    parsed.pathname = NO_TEXT.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", plain)
    return str(parsed.href)


def type_by_name(url: str) -> str:
    """Guess a media type from the name in the URL; application/octet-stream where it says nothing."""
    path = str(ada_url.URL(url).pathname)
    return TYPES.guess_type(path)[0] or "application/octet-stream"
