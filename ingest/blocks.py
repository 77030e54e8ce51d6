"""A page as blocks of text and media references, in DOM order: one walk over the parsed tree."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from lxml import etree

from ingest.references import (
    Element,
    absolute,
    image_url,
    is_icon,
    is_ornament,
    leads_away,
    picture_url,
    player_url,
)

HEADINGS = {f"h{level}": level for level in range(1, 7)}


def _tags(names: str) -> list[str]:
    return names.split()


SKIPPED = frozenset(
    _tags(
        "script style template svg math head iframe object embed canvas button select option textarea input datalist "
        "dialog map area link meta title"
    )
)
# A tag here starts a new block; its value is the block's kind, or None to inherit that of the enclosing block.
KINDS: dict[str, str | None] = {
    **dict.fromkeys(_tags("p div section article main header footer nav aside body form fieldset address center")),
    **dict.fromkeys(_tags("figure details summary hgroup td th tr tbody thead tfoot hr legend label search")),
    **dict.fromkeys(HEADINGS, "heading"),
    **dict.fromkeys(_tags("li dt dd"), "list_item"),
    **dict.fromkeys(_tags("ul ol dl menu dir table"), "paragraph"),
    **dict.fromkeys(_tags("figcaption caption"), "caption"),
    **dict.fromkeys(_tags("pre listing xmp"), "code"),
    "blockquote": "quote",
}
IMAGES = frozenset(("img", "amp-img"))
OPAQUE = frozenset(("audio", "video", "noscript"))
VOID = frozenset(("br", "img", "amp-img", "audio", "video", "source", "track", "picture", "wbr", "col", "param"))
MARKUP_ATTRIBUTES = frozenset(("href", "title", "lang", "cite", "datetime"))
ARTICLES = frozenset(("article", "main"))
LISTS = frozenset(("ul", "ol", "dl", "menu", "dir"))
FIGURES = re.compile(
    r"(?:^|\s)(?:figure|informalfigure|wp-caption|wp-block-image|thumbinner)(?:\s|$)"
)  # <div>s from before <figure>
CHROME_TAGS = frozenset(("nav", "footer", "aside", "form", "search"))
CHROME_ROLES = frozenset(
    ("navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "toolbar")
)
CHROME_NAMES = re.compile(
    r"(?:^|[\s_-])(?:nav(?:bar|igation|header|footer)?|menu|breadcrumbs?|footer|sidebar|side-?bar|related|recommend\w*"
    r"|share|sharing|social|comments?|disqus|widget|promo|newsletter|advert\w*|ads?|sponsor\w*|cookie\w*|popup|modal|avatar"
    r"|byline|author|icons?|logo|toolbar|pagination|tags?|trending|most-?(?:read|popular)|read-?more|teaser)(?:$|[\s_-])",
    re.IGNORECASE,
)
LAYOUT = tuple(_tags("table h1 h2 h3 h4 ul ol dl blockquote pre figure form article section"))
SPACES = re.compile(r"\s+")
BREAK = "\u2028"  # a line break that the page means, told from one of its source


@dataclass(slots=True)
class Block:
    """One block of a page as it stands in the DOM, before cleaning."""

    kind: str  # heading | paragraph | list_item | table | code | quote | caption
    level: int | None  # of a heading, or the depth of a list item
    text: str
    order: int  # its place among all blocks of the page
    chrome: int = 0  # how many elements of navigation, footers, asides … enclose it
    linked: int = 0  # how many of its characters, before rendering, stand in links
    box: int = 0  # the element that holds it, a place in Page.boxes
    markup: str | None = None  # the block with its inline tags, where the walk was asked to keep them


@dataclass(slots=True)
class Reference:
    """One picture, recording or film that a page shows."""

    url: str
    kind: str  # image | audio | video
    alt: str | None
    caption: str | None
    place: int  # how many blocks of the page end before it; the block that it stands in has this order
    inside: bool = False  # whether it stands in the block numbered `place`, rather than between two blocks
    figure: int | None = None  # which <figure> of the page it stands in
    chrome: int = 0
    box: int = 0
    leads_away: bool = False  # whether it is a link to something else than a picture


@dataclass(slots=True)
class Page:
    """What one walk over a page found."""

    blocks: list[Block] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    captions: dict[int, list[int]] = field(default_factory=dict)  # figure → orders of its caption's blocks
    boxes: list[int] = field(default_factory=lambda: [0])  # of each block-level element, that which encloses it
    tags: list[str] = field(default_factory=lambda: ["body"])  # of each block-level element


def read_page(tree: Element, url: str, keep_markup: bool = False, keep_spaces: bool = False) -> Page:
    """Walk a parsed page once; URLs are resolved against `url` and the page's own <base>.

    Runs of white space become one space as HTML renders them, unless `keep_spaces`; `keep_markup` fills Block.markup.
    """
    base = tree.find(".//base[@href]")
    resolved = absolute(base.get("href"), url) if base is not None else None
    walker = _Walker(resolved or url, keep_markup, keep_spaces)
    body = tree if tree.tag == "body" else tree.find("body")
    walker.walk(tree if body is None else body)
    shown = {reference.figure for reference in walker.page.references}
    walker.page.captions = {figure: orders for figure, orders in walker.page.captions.items() if figure in shown}
    return walker.page


class _Walker:
    """The state of one walk: the text gathered since the last block boundary, and what encloses it."""

    def __init__(self, base: str, keep_markup: bool, keep_spaces: bool) -> None:
        self.page = Page()
        self.base = base
        self.keep_markup = keep_markup
        self.keep_spaces = keep_spaces
        self.text: list[str] = []
        self.markup: list[str] = []
        self.kinds = ["paragraph"]
        self.heading: int | None = None
        self.chromes: list[bool] = []
        self.lists = self.chrome = self.articles = 0
        self.boxes = [0]  # the open block-level elements
        self.links = self.linked = 0  # open links, and the characters gathered in links
        self.table: Element | None = None  # the data table being read as one block
        self.figures: list[int] = []
        self.framed: list[bool] = []  # of each open block-level element: whether it is a figure
        self.num_figures = 0
        self.pending: list[Reference] = []  # references met in the block that is still open

    def walk(self, body: Element) -> None:
        skipped: Element | None = None
        walker = etree.iterwalk(body, events=("start", "end"))
        for event, element in walker:
            tag = element.tag
            if event == "start":
                if tag in KINDS:
                    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
                        skipped = element
                        walker.skip_subtree()
                        continue
                    self._open(element, tag)
                elif tag in SKIPPED or tag in OPAQUE or not isinstance(tag, str):  # comments have no string tag
                    self._opaque(element, tag)
                    skipped = element
                    walker.skip_subtree()
                    continue
                else:
                    self._inline(element, tag)
                if element.text:
                    self._add(element.text)
            else:
                if element is skipped:
                    skipped = None
                elif tag in KINDS:
                    self._close(element, tag)
                else:
                    self.links -= tag == "a"
                    if self.keep_markup and tag not in VOID:
                        self.markup.append(f"</{tag}>")
                if element.tail and element is not body:
                    self._add(element.tail)
        self._flush()

    def _inline(self, element: Element, tag: str) -> None:
        if tag == "br":
            self._add(BREAK, raw=True)
        elif tag in IMAGES:
            self._refer(element, "image")
        self.links += tag == "a"
        if self.keep_markup and tag not in VOID:
            self.markup.append(_start_tag(element))

    def _open(self, element: Element, tag: str) -> None:
        name = f"{element.get('class') or ''} {element.get('id') or ''}"
        self.chromes.append(_is_chrome(element, tag, name, self.articles))
        self.chrome += self.chromes[-1]
        if self.table is not None:
            separator = (
                BREAK if tag == "tr" else " | " if tag in ("td", "th") and element.getprevious() is not None else " "
            )
            self._add(separator, raw=True)
            return
        self._flush()
        kind = KINDS[tag] or self.kinds[-1]
        if tag == "table" and is_data_table(element):
            self.table, kind = element, "table"
        elif tag in ("p", "div") and self._captions(element, name):
            kind = "caption"
        self.kinds.append(kind)
        self.boxes.append(len(self.page.boxes))
        self.page.boxes.append(self.boxes[-2])
        self.page.tags.append(tag)
        self.articles += tag in ARTICLES
        self.lists += tag in LISTS
        self.heading = HEADINGS.get(tag, self.heading)
        self.framed.append(tag == "figure" or (tag == "div" and FIGURES.search(element.get("class") or "") is not None))
        if self.framed[-1]:
            self.num_figures += 1
            self.figures.append(self.num_figures)

    def _captions(self, element: Element, name: str) -> bool:
        """Tell whether a paragraph is the caption of a picture by its class."""
        titles = bool(self.figures) and element.get("class") == "title"  # as DocBook writes "Figure 1. …"
        return (titles or "caption" in name) and next(element.iter("img"), None) is None

    def _close(self, element: Element, tag: str) -> None:
        if self.table is None or self.table is element:
            self._flush()
            self.table = None
            self.kinds.pop()
            self.boxes.pop()
            self.articles -= tag in ARTICLES
            self.lists -= tag in LISTS
            if tag in HEADINGS:
                self.heading = None
            if self.framed.pop():
                self.figures.pop()
        self.chrome -= self.chromes.pop()

    def _add(self, text: str, raw: bool = False) -> None:
        text = text if raw or self.table is None else SPACES.sub(" ", text)
        self.text.append(text)
        if self.links:
            self.linked += len(text)
        if self.keep_markup:
            self.markup.append(text if raw else escape(text, quote=False))

    def _flush(self) -> None:
        text = "".join(self.text)
        order = len(self.page.blocks)
        filled = bool(text) and not text.isspace()
        if filled:
            kind = self.kinds[-1]
            text = self._rendered(text, kind)
            level = self.heading if kind == "heading" else self.lists if kind == "list_item" else None
            markup = self._rendered("".join(self.markup), kind) if self.keep_markup else None
            self.page.blocks.append(Block(kind, level, text, order, self.chrome, self.linked, self.boxes[-1], markup))
            if kind == "caption" and self.figures:
                self.page.captions.setdefault(self.figures[-1], []).append(order)
        for reference in self.pending:
            reference.inside = filled
        self.pending.clear()
        self.linked = 0
        self.text.clear()
        self.markup.clear()

    def _rendered(self, text: str, kind: str) -> str:
        if self.keep_spaces or kind == "code":
            return text.replace(BREAK, "\n")
        if BREAK in text:
            return "\n".join(line for part in text.split(BREAK) if (line := " ".join(part.split())))
        return " ".join(text.split())

    def _refer(self, element: Element, kind: str) -> None:
        url = image_url(element, self.base) if kind == "image" else player_url(element, self.base)
        if url is None and kind == "image" and (picture := next(element.iterancestors("picture"), None)) is not None:
            url = picture_url(picture, self.base)
        if url is None or (kind == "image" and (is_icon(element) or is_ornament(url))):
            return
        self._note(element, kind, url)

    def _note(self, element: Element, kind: str, url: str) -> None:
        alt = " ".join((element.get("alt") or element.get("title") or element.get("aria-label") or "").split())
        figure = self.figures[-1] if self.figures else None
        reference = Reference(
            url,
            kind,
            alt or None,
            None,
            len(self.page.blocks),
            False,
            figure,
            self.chrome,
            self.boxes[-1],
            leads_away(element),
        )
        self.page.references.append(reference)
        self.pending.append(reference)

    def _opaque(self, element: Element, tag: str) -> None:
        """Take the media of an element whose text is only for browsers that cannot show it."""
        if tag == "noscript":
            for image in element.iter("img"):
                self._refer(image, "image")
        elif tag in OPAQUE:
            self._refer(element, tag)
            if poster := absolute(element.get("poster") or "", self.base):
                self._note(element, "image", poster)


def _is_chrome(element: Element, tag: str, name: str, articles: int) -> bool:
    if tag in CHROME_TAGS or (tag == "header" and not articles):
        return True
    if tag == "body" or tag in ARTICLES:
        return False
    return (len(name) > 1 and CHROME_NAMES.search(name) is not None) or element.get("role") in CHROME_ROLES


def is_data_table(table: Element) -> bool:
    """Tell a table of data from one that only lays out a page: no nested structure, at least two cells in some row."""
    if table.get("role") in ("presentation", "none"):
        return False
    if next(table.iterdescendants(*LAYOUT), None) is not None:
        return False
    return any(sum(1 for _ in row.iterchildren("td", "th")) > 1 for row in table.iter("tr"))


def _start_tag(element: Element) -> str:
    """Render an inline element's start tag with what it says, without its scripts and styles."""
    said = "".join(f' {name}="{escape(value)}"' for name, value in element.attrib.items() if name in MARKUP_ATTRIBUTES)
    return f"<{element.tag}{said}>"


def text_blocks(text: str) -> Iterator[Block]:
    """Cut plain text at its blank lines into paragraphs."""
    paragraphs = (part for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if part.strip())
    for order, paragraph in enumerate(paragraphs):
        yield Block("paragraph", None, paragraph, order)
