"""Feeds: RSS and Atom by feedparser, JSON Feed 1.1; entries with their enclosures, pictures, titles and dates."""

import calendar
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import feedparser

from ingest.fetch import BadEncoding, Response
from ingest.hints import Hints, Medium, day_of, parse_time
from ingest.listings import Entry, Listing, make_medium, resolve

JSON_FEED = "jsonfeed.org/version/1"


def read_feed(response: Response) -> Listing:
    """Read a feed's entries; raise BadEncoding where it is none."""
    if response.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _read_json(response)
    body = io.BytesIO(response.body)  # bytes alone would be taken for the name of a file first
    parsed = feedparser.parse(body, sanitize_html=False)
    if not parsed.get("version"):
        raise BadEncoding("not an RSS, Atom or JSON feed")
    return Listing([entry for item in parsed.entries if (entry := _entry(item, response.url))])


def _entry(item: Mapping[str, Any], base: str) -> Entry | None:
    # Where a link is missing, feedparser takes any guid for one; only a whole URL is.
    url = resolve(item.get("id") or "", None) if item.get("guidislink") else resolve(item.get("link") or "", base)
    media = tuple({medium.url: medium for medium in _media(item, base)}.values())
    if not url and not media:
        return None
    published = _seconds(item.get("published_parsed"))
    changed = _seconds(item.get("updated_parsed")) if "updated_parsed" in item else published
    hints = Hints(
        title=item.get("title") or "",
        author=item.get("author") or "",
        date=day_of(published),
        media=media,
    )
    return Entry(url, hints, changed)


def _seconds(parsed: Any) -> float | None:
    """Return what feedparser made of a date in seconds since 1970, None for a year that no calendar has."""
    try:
        return float(calendar.timegm(parsed)) if parsed else None
    except (ValueError, OverflowError):
        return None


def _media(item: Mapping[str, Any], base: str) -> Iterator[Medium]:
    """Yield the enclosures and Media RSS contents of an entry, its picture last."""
    contents = [*item.get("enclosures", ()), *item.get("media_content", ())]
    for content in contents:
        declared = content.get("type") or (f"{content['medium']}/*" if content.get("medium") else "")
        if medium := make_medium(content.get("href") or content.get("url") or "", base, declared):
            yield medium
    for picture in (*item.get("media_thumbnail", ()), item.get("image") or {}):
        if medium := make_medium(picture.get("href") or picture.get("url") or "", base, "image/*"):
            yield medium


def _read_json(response: Response) -> Listing:
    try:
        feed = json.loads(response.body.decode("utf-8-sig"))
        known = JSON_FEED in str(feed["version"])
        items = [item for item in feed["items"] if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadEncoding(f"not a JSON feed: {type(error).__name__}: {error}"[:200]) from error
    if not known:
        raise BadEncoding(f"not a JSON feed: version '{feed['version']}'"[:200])
    return Listing([entry for item in items if (entry := _json_entry(item, feed, response.url))])


def _json_entry(item: Mapping[str, Any], feed: Mapping[str, Any], base: str) -> Entry | None:
    url = resolve(_string(item.get("url")) or _string(item.get("external_url")), base)
    media = tuple({medium.url: medium for medium in _json_media(item, base)}.values())
    if not url and not media:
        return None
    authors = item.get("authors") or [item.get("author")]
    names = [_string(one.get("name")) for one in authors if isinstance(one, dict)] if isinstance(authors, list) else []
    changed = parse_time(_string(item.get("date_modified")) or _string(item.get("date_published")))
    hints = Hints(
        title=_string(item.get("title")),
        author=", ".join(name for name in names if name),
        date=day_of(_string(item.get("date_published"))),
        language=(_string(item.get("language")) or _string(feed.get("language")))[:2].lower(),
        media=media,
    )
    return Entry(url, hints, changed.timestamp() if changed else None)


def _json_media(item: Mapping[str, Any], base: str) -> Iterator[Medium]:
    attachments = item.get("attachments")
    for attachment in attachments if isinstance(attachments, list) else ():
        if isinstance(attachment, dict):
            address, declared = _string(attachment.get("url")), _string(attachment.get("mime_type"))
            if medium := make_medium(address, base, declared, _string(attachment.get("title"))):
                yield medium
    for name in ("image", "banner_image"):
        if medium := make_medium(_string(item.get(name)), base, "image/*"):
            yield medium


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
