"""A page's title, author, date, language and licence, from its own declarations."""

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import yaml
from htmldate import find_date

from ingest.hints import encodable
from ingest.references import Element, absolute

TITLES = ("og:title", "twitter:title", "dc.title", "dcterms.title", "headline")
AUTHORS = ("author", "article:author", "dc.creator", "dcterms.creator", "byl", "parsely-author", "sailthru.author")
PICTURES = ("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src")
SOUNDS = ("og:audio", "og:audio:url", "og:audio:secure_url")
ARTICLES = re.compile(r"Article$|Posting$|^Report$|^WebPage$|^Recipe$|^Book$|^CreativeWork$")
SITE_NAME = re.compile(r"\s+[|–—·»-]\s+[^|–—·»]{2,40}$")


@dataclass(slots=True)
class Metadata:
    """What a page declares of itself; None where it is silent."""

    title: str | None = None
    author: str | None = None
    date: str | None = None  # ISO 8601 day
    language: str | None = None  # the primary subtag of <html lang>, e.g. zh
    licence: str | None = None
    media: list[tuple[str, str]] = field(
        default_factory=list
    )  # kind and canonical URL of the og: and JSON-LD pictures and sounds

    def over(self, other: "Metadata") -> "Metadata":
        """Return these declarations, with another's where these are silent."""
        return Metadata(*(mine or theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def read_front_matter(text: str) -> Metadata:
    """Read the YAML in front of a Markdown file; raise yaml.YAMLError."""
    found = yaml.safe_load(text)
    named = {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}
    date = named.get("date") or named.get("published")
    return Metadata(
        title=_text(named.get("title")),
        author=_names(named.get("author") or named.get("authors")),
        date=_day(date.isoformat() if isinstance(date, datetime.date) else date),
        language=_primary(_text(named.get("lang") or named.get("language")) or ""),
        licence=_text(named.get("license") or named.get("licence")),
    )


def read_metadata(tree: Element, url: str) -> Metadata:
    """Read JSON-LD, <meta>, <title> and rel= links of a parsed page; JSON-LD articles win over <meta>."""
    named = _meta(tree)
    article = next(_articles(tree), {})
    media = [("image", value) for name in PICTURES if (value := absolute(named.get(name, ""), url))]
    media += [("image", value) for name in _pictures(article.get("image")) if (value := absolute(name, url))]
    media += [("audio", value) for name in SOUNDS if (value := absolute(named.get(name, ""), url))]
    return Metadata(
        title=_text(article.get("headline")) or _first(named, TITLES) or _title(tree),
        author=_names(article.get("author")) or _author(named),
        date=_day(article.get("datePublished")) or find_date(tree, extensive_search=False, original_date=True, url=url),
        language=_language(tree, named),
        licence=_licence(tree, url) or _text(article.get("license")) or named.get("dcterms.license"),
        media=list(dict.fromkeys(media)),
    )


def _meta(tree: Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in tree.iter("meta"):
        name = element.get("property") or element.get("name") or element.get("itemprop") or element.get("http-equiv")
        content = " ".join((element.get("content") or "").split())
        if name and content:
            found.setdefault(name.lower(), content)
    return found


def _articles(tree: Element) -> Iterator[Mapping[str, Any]]:
    for script in tree.iterfind('.//script[@type="application/ld+json"]'):
        try:
            yield from _typed(json.loads(script.text or "null", strict=False), 0)
        except (ValueError, RecursionError):  # JSON-LD is written by hand and often broken
            continue


def _typed(node: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, list):
        for item in node[:50]:
            yield from _typed(item, depth)
    elif isinstance(node, dict):
        kinds = node.get("@type", "")
        if any(ARTICLES.search(str(kind)) for kind in (kinds if isinstance(kinds, list) else [kinds])):
            yield node
        if depth < 3:
            yield from _typed(node.get("@graph"), depth + 1)


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("name") or value.get("@value") or value.get("url")
    return " ".join(encodable(value).split()) or None if isinstance(value, str) else None


def _pictures(value: Any) -> list[str]:
    """Return the URLs of a JSON-LD image: one, an ImageObject, or a list of either."""
    found = [
        item.get("url") if isinstance(item, dict) else item for item in (value if isinstance(value, list) else [value])
    ]
    return [item for item in found if isinstance(item, str)]


def _names(value: Any) -> str | None:
    names = [_text(item) for item in (value if isinstance(value, list) else [value])]
    return "; ".join(dict.fromkeys(name for name in names if name)) or None


def _author(named: Mapping[str, str]) -> str | None:
    name = _first(named, AUTHORS)
    return None if name is None or name.startswith(("http://", "https://", "@")) else name


def _first(named: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((named[key] for key in keys if key in named), None)


def _title(tree: Element) -> str | None:
    headings = [" ".join("".join(element.itertext()).split()) for element in tree.iter("h1")]
    titles = (" ".join("".join(element.itertext()).split()) for element in tree.iterfind("head/title"))
    title = next((text for text in titles if text), None)
    if title is None:
        return next((text for text in headings if text), None)
    return next((text for text in headings if text and title.startswith(text)), SITE_NAME.sub("", title))


def _day(value: Any) -> str | None:
    match = re.match(r"\d{4}-[01]\d-[0-3]\d", value) if isinstance(value, str) else None
    return match[0] if match else None


def _language(tree: Element, named: Mapping[str, str]) -> str | None:
    root = tree.getroottree().getroot()
    value = (
        root.get("lang")
        or root.get("{http://www.w3.org/XML/1998/namespace}lang")
        or named.get("content-language")
        or ""
    )
    return _primary(value)


def _primary(tag: str) -> str | None:
    primary = re.split(r"[-_,;\s]", tag.strip())[0].lower()
    return primary if re.fullmatch(r"[a-z]{2,3}", primary) else None


def _licence(tree: Element, url: str) -> str | None:
    for element in tree.iter("a", "link"):
        if "license" in (element.get("rel") or "").lower().split():
            return absolute(element.get("href") or "", url)
    return None
