"""Which file a media element means: its address, its kind, its words."""

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import ada_url

from ingest.urls import canonical

Element: TypeAlias = Any  # lxml's elements carry no types

# Attributes that lazy-loading scripts use, in the order in which they are trusted over a placeholder `src`.
LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-full-src", "data-image", "data-url")
LAZY_SETS = ("data-srcset", "data-lazy-srcset")
CANDIDATE = re.compile(r"\s*([^\s,]\S*[^\s,]|[^\s,])(?:\s+([\d.]+)([wxh]))?\s*(?:,|$)")
MIN_PIXELS = 32  # a picture declared smaller than this on one side is an icon or a tracking pixel

ORNAMENT = re.compile(
    r"(?:^|[-_.])(?:facebook|twitter|pinterest|linkedin|whatsapp|instagram|youtube|social|share|spacer|pixel|sprites?|blank"
    r"|avatar|overlay|1x1)(?:[-_.]|$)|^(?:note|tip|hint|warning|caution|important|info)\.\w+$",
    re.IGNORECASE,
)
PICTURE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|svg|bmp|tiff?)(?:$|[?#/])|attachment", re.IGNORECASE)
SIZED = re.compile(r"[-_](?:\d+x\d+|\d+w|scaled)$", re.IGNORECASE)
# Servers of advertisements (Revive), of calls to action (HubSpot), of faces, and icons of sharing plug-ins.
SERVED = re.compile(
    r"/delivery/a[vjf][wsr]\.php|hubspot\.com/cta/|gravatar\.com/|/(?:[\w-]*share-buttons[\w-]*|emoji|smilies)/"
)
# What stands at the head of a site, not of an article; and the sizes in which advertisements are sold.
BANNER = re.compile(
    r"(?:^|[-_./])(?:logo\d*|header|masthead|banner|sponsor)(?:[-_./]|$)|(?<!\d)(?:468x60|728x90|300x250|160x600|970x250)(?!\d)",
    re.IGNORECASE,
)


def absolute(url: str, base: str) -> str | None:
    """Return the canonical absolute form of a media URL, or None where it cannot be fetched (data:, blob:, broken)."""
    url = url.strip()
    if not url or url.startswith(("data:", "blob:", "javascript:", "about:", "#")):
        return None
    if base.startswith("file:"):  # a page of a local folder shows its neighbours; a page of the web never does
        return _local(url, base) or canonical(url, base)
    return canonical(url, base)


def _local(url: str, base: str) -> str | None:
    try:
        parsed = ada_url.URL(url, base)
    except ValueError:
        return None
    parsed.hash = ""
    return str(parsed.href) if parsed.protocol == "file:" else None


def best_candidate(srcset: str) -> str | None:
    """Return the widest (or densest) URL of an HTML `srcset`; the first of equals."""
    best: tuple[float, str] | None = None
    for url, size, _ in CANDIDATE.findall(srcset):
        width = float(size) if size.replace(".", "", 1).isdigit() else 1.0
        if not url.startswith("data:") and (best is None or width > best[0]):
            best = (width, url)
    return best[1] if best else None


def image_url(element: Element, base: str) -> str | None:
    """Return where an <img> really points: its best srcset entry, a lazy-loading attribute, or its src."""
    sets = (element.get(name) for name in ("srcset", *LAZY_SETS))
    candidates = [best_candidate(value) for value in sets if value]
    candidates += [element.get(name) for name in (*LAZY, "src")]
    return next(
        (url for value in candidates if value and value.strip() != "/" and (url := absolute(value, base))), None
    )


def picture_url(picture: Element, base: str) -> str | None:
    """Return the best source of a <picture> whose <img> names none itself."""
    for source in picture.iter("source"):
        value = best_candidate(source.get("srcset") or source.get("data-srcset") or "")
        if value and (url := absolute(value, base)):
            return url
    return None


def player_url(element: Element, base: str) -> str | None:
    """Return the file that an <audio> or <video> plays: its src, else its first usable <source>."""
    values = [element.get("src"), element.get("data-src"), *(s.get("src") for s in element.iter("source"))]
    return next((url for value in values if value and (url := absolute(value, base))), None)


def leads_away(element: Element) -> bool:
    """Tell whether a picture stands in a link, unless that opens a picture: such a one advertises another page."""
    link = next(element.iterancestors("a"), None)
    href = (link.get("href") or "") if link is not None else ""
    return bool(href) and not href.startswith(("#", "javascript:")) and PICTURE.search(href) is None


def file_key(url: str) -> str:
    """Return what stays of a picture's file name in all its sizes: 'boat' for boat-800x600.fit.jpg."""
    name = url.partition("?")[0].rpartition("/")[2].partition(".")[0]
    return SIZED.sub("", name).lower()


def is_icon(element: Element) -> bool:
    """Tell whether the page itself declares this picture too small to carry meaning."""
    return any(0 <= size < MIN_PIXELS for size in _sizes(element))


def is_ornament(url: str) -> bool:
    """Tell by its address a picture that decorates a page: a share button, a spacer, an avatar, an advertisement."""
    path = url.partition("?")[0]
    return ORNAMENT.search(path.rpartition("/")[2]) is not None or SERVED.search(path) is not None


def is_banner(url: str) -> bool:
    """Tell by its file name a picture that heads a whole site or advertises; amid an article it may be its subject."""
    return BANNER.search(url.partition("?")[0].rpartition("/")[2]) is not None


def _sizes(element: Element) -> Iterator[int]:
    for name in ("width", "height"):
        value = (element.get(name) or "").strip().removesuffix("px")
        if value.isdecimal():
            yield int(value)
