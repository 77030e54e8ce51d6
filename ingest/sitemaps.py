"""Sitemaps and their indexes (sitemaps.org) with the news, image and video extensions, as XML, text or gzip."""

import io
from collections.abc import Iterator
from typing import Any

from lxml import etree

from ingest.feeds import read_feed
from ingest.fetch import BadEncoding, Response, decode_body
from ingest.hints import Hints, Medium, day_of, parse_time
from ingest.listings import Entry, Listing, make_medium, resolve

GZIP_MAGIC = b"\x1f\x8b"
ROOTS = ("urlset", "sitemapindex")


def read_sitemap(response: Response, max_bytes: int) -> Listing:
    """Read a sitemap, an index, or a feed in the place of one; raise BadEncoding or TooLarge."""
    content = response.body
    if content.startswith(GZIP_MAGIC):
        content = decode_body(content, "gzip", max_bytes)
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = content.decode("utf-8-sig", "replace").split()
        return Listing([Entry(url) for line in lines if (url := resolve(line, response.url))])
    listing, root = Listing(), ""
    try:
        for _, element in etree.iterparse(
            io.BytesIO(content), events=("end",), resolve_entities=False, no_network=True, huge_tree=False, recover=True
        ):
            root = _name(element)
            if root in ("url", "sitemap"):
                entry = _read_entry(element, response.url)
                if entry is not None:
                    (listing.entries if root == "url" else listing.lists).append(entry)
                element.clear()
    except etree.XMLSyntaxError as error:
        raise BadEncoding(f"not a sitemap: {error.msg}") from error
    if root not in ROOTS and not listing.entries and not listing.lists:
        return read_feed(Response(response.url, response.status, response.headers, content))
    return listing


def _read_entry(element: Any, base: str) -> Entry | None:
    url = resolve(_text(element, "loc"), base)
    if not url:
        return None
    changed = parse_time(_text(element, "lastmod"))
    news = next(_children(element, "news"), None)
    hints = Hints(media=tuple(_media(element, base)))
    if news is not None:
        publication = next(_children(news, "publication"), None)
        language = _text(publication, "language") if publication is not None else ""
        day = day_of(_text(news, "publication_date"))
        hints = Hints(_text(news, "title"), "", day, language[:2].lower(), hints.media)
    return Entry(url, hints, changed.timestamp() if changed else None)


def _media(element: Any, base: str) -> Iterator[Medium]:
    for image in _children(element, "image"):
        alt = _text(image, "caption") or _text(image, "title")
        if medium := make_medium(_text(image, "loc"), base, "image/*", alt):
            yield medium
    for video in _children(element, "video"):
        if medium := make_medium(_text(video, "thumbnail_loc"), base, "image/*", _text(video, "title")):
            yield medium


def _children(element: Any, name: str) -> Iterator[Any]:
    return (child for child in element if isinstance(child.tag, str) and _name(child) == name)


def _text(element: Any, name: str) -> str:
    return next(("".join(child.itertext()).strip() for child in _children(element, name)), "")


def _name(element: Any) -> str:
    """Return the local name of an element; lxml's QName refuses names that its recovering parser lets in."""
    return str(element.tag).rpartition("}")[2]
