"""What a fetched page points to, and what it says about its own rights: read from the DOM and the headers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.charset import decode_text
from ingest.fetch import Response
from ingest.references import absolute, image_url, is_icon, picture_url, player_url
from ingest.urls import canonical

HTML_TYPES = ("text/html", "application/xhtml+xml")
META_MEDIA = ("og:image", "og:image:url", "og:image:secure_url", "og:audio", "og:audio:url", "twitter:image")
RIGHTS = ("noai", "noimageai", "noindex", "nofollow", "noarchive", "nosnippet", "none")
LINK_HEADER = re.compile(r"<([^>]*)>([^<]*)")


@dataclass
class Page:
    """The references of one HTML page, canonical and in document order, and its signals."""

    links: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    directives: set[str] = field(default_factory=set)  # of <meta name=robots> and kin
    licence: str = ""


def read_page(response: Response) -> Page:
    """Parse an HTML response; links under nofollow are left out."""
    tree = LexborHTMLParser(decode_text(response.body, response.get("content-type")))
    base_node = tree.css_first("base[href]")
    base = (canonical(_attribute(base_node, "href"), response.url) if base_node else None) or response.url
    page = Page()
    for node in tree.css("meta[name]"):
        if _attribute(node, "name").lower() in ("robots", "headrace", "tdm-reservation"):
            name, content = _attribute(node, "name").lower(), _attribute(node, "content")
            page.directives |= {f"tdm-reservation={content.strip()}"} if name == "tdm-reservation" else _tokens(content)
    follow = not {"nofollow", "none"} & (page.directives | _tokens(response.get("x-robots-tag")))
    links = _links(tree) if follow else iter(())
    page.links = list(dict.fromkeys(url for raw in links if (url := canonical(raw, base))))
    page.media = list(dict.fromkeys(url for url in _media(tree, base) if url))
    for node in tree.css("a[rel~=license], link[rel~=license]"):
        page.licence = page.licence or canonical(_attribute(node, "href"), base) or ""
    return page


def rights_of(response: Response, page: Page | None) -> str:
    """Join the rights signals of headers and markup: 'noai, tdm-reservation=1'; '' where there are none."""
    found = _tokens(response.get("x-robots-tag"))
    reservation = response.get("tdm-reservation").strip()
    if reservation:
        found.add(f"tdm-reservation={reservation}")
    policy = response.get("tdm-policy").strip()
    if policy:
        found.add(f"tdm-policy={policy}")
    return ", ".join(sorted(found | (page.directives if page else set())))


def licence_of(response: Response, page: Page | None) -> str:
    """Return the licence's URL from the Link header or the page; '' where none is named."""
    for target, parameters in LINK_HEADER.findall(response.get("link")):
        if re.search(r"rel\s*=\s*\"?[^\";]*\blicense\b", parameters, re.IGNORECASE):
            return canonical(target, response.url) or ""
    return page.licence if page else ""


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


def _tokens(value: str) -> set[str]:
    """Keep the directives of an X-Robots-Tag or meta robots value that speak to everyone or to us."""
    found: set[str] = set()
    for token in re.split(r"[,;]", value.lower()):
        agent, _, directive = token.rpartition(":")
        if agent.strip() in ("", "headrace") and directive.strip() in RIGHTS:
            found.add(directive.strip())
    return found
