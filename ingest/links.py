"""What a fetched page points to, and what it says about its own use: read from the DOM and the headers."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.charset import decode_text
from ingest.fetch import Response
from ingest.references import absolute, image_url, is_icon, picture_url, player_url
from ingest.rights import Signal, directives, header_signals, json_ld_licences, licence, meta_robots, tdm
from ingest.urls import canonical

HTML_TYPES = ("text/html", "application/xhtml+xml")
META_MEDIA = ("og:image", "og:image:url", "og:image:secure_url", "og:audio", "og:audio:url", "twitter:image")
MAX_JSON_LD = 1 << 20  # characters


@dataclass
class Page:
    """The references of one HTML page, canonical and in document order, and its signals."""

    links: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)  # of headers and markup


def read_page(response: Response, agent: str) -> Page:
    """Parse an HTML response; links under a nofollow for everyone or for `agent` are left out."""
    tree = LexborHTMLParser(decode_text(response.body, response.get("content-type")))
    base_node = tree.css_first("base[href]")
    base = (canonical(_attribute(base_node, "href"), response.url) if base_node else None) or response.url
    page = Page(signals=[*header_signals(response.headers, response.url), *_signals(tree, base)])
    follow = not {"nofollow", "none"} & directives(page.signals, agent)
    links = _links(tree) if follow else iter(())
    page.links = list(dict.fromkeys(url for raw in links if (url := canonical(raw, base))))
    page.media = list(dict.fromkeys(url for url in _media(tree, base) if url))
    return page


def signals_of(response: Response, page: Page | None) -> list[Signal]:
    """Return what a response says about its use, with the markup where it is a page."""
    return page.signals if page else header_signals(response.headers, response.url)


def _signals(tree: LexborHTMLParser, base: str) -> Iterator[Signal]:
    """Yield what the markup says about the use of its page."""
    metas: dict[str, str] = {}
    for node in tree.css("meta[name][content]"):
        name, content = _attribute(node, "name").lower(), _attribute(node, "content")
        metas.setdefault(name, content)
        yield from meta_robots(name, content)
    yield from tdm("tdm-meta", metas.get("tdm-reservation", ""), metas.get("tdm-policy", ""), base)
    for node in tree.css("a[rel~=license][href], link[rel~=license][href]"):
        yield from licence("link", _attribute(node, "href"), base)
    for node in tree.css('script[type="application/ld+json"]'):
        yield from json_ld_licences((node.text() or "")[:MAX_JSON_LD], base)


def _links(tree: LexborHTMLParser) -> Iterator[str]:
    for node in tree.css("a[href], area[href], link[rel~=next][href], iframe[src]"):
        if "nofollow" not in _attribute(node, "rel").lower().split():
            yield _attribute(node, "href") or _attribute(node, "src")


def _media(tree: LexborHTMLParser, base: str) -> Iterator[str | None]:
    """Yield the file that each picture and recording means, chosen as extraction will choose it."""
    for node in tree.css("img"):
        element = _Element(node)
        if not is_icon(element):
            parent = node.parent if node.parent is not None and node.parent.tag == "picture" else None
            yield image_url(element, base) or (picture_url(_Element(parent), base) if parent else None)
    for node in tree.css("audio, video"):
        yield player_url(_Element(node), base)
    for node in tree.css("meta[property], meta[name]"):
        if (_attribute(node, "property") or _attribute(node, "name")).lower() in META_MEDIA:
            yield absolute(_attribute(node, "content"), base)


class _Element:
    """A selectolax node behind the two methods of lxml's elements that `references` calls."""

    def __init__(self, node: LexborNode) -> None:
        self._node = node

    def get(self, name: str) -> str | None:
        return self._node.attributes.get(name)

    def iter(self, tag: str) -> Iterator["_Element"]:
        return (_Element(node) for node in self._node.css(tag))


def _attribute(node: LexborNode, name: str) -> str:
    return (node.attributes.get(name) or "").strip()
