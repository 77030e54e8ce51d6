"""Which blocks of a page are its main content: our DOM walk, reconciled with trafilatura's choice."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ingest.blocks import Block, Page, Reference
from ingest.recovery import inside_of, recovered, root_of
from ingest.references import Element, file_key, is_banner

NOT_LETTERS = re.compile(r"[\W_]+")
ANCHOR = 40  # letters from which a block's text is taken to be unmistakable
SHORT = 16  # letters under which a block must follow the last one at once, or share an edge with one of the extractor's
CLOSE = 150  # letters of rejected text that may stand between a picture and the content that it belongs to
MIN_KEY = 6  # characters of a file name that tells a picture from others
WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
MIN_WORDS = 4  # of a unit that may be told by its words
MAX_LACKING = 0.1  # of a unit's words that its block may lack
KINDS = {"head": "heading", "item": "list_item", "row": "table", "code": "code", "quote": "quote"}
UNITS = ("p", "head", "item", "row", "code", "quote", "ab", "fw")


@dataclass(slots=True)
class Unit:
    """One block as the extractor sees it, with its half-open range in the extractor's compacted text."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(slots=True)
class Match:
    """A DOM block found in the extractor's text at a half-open range."""

    block: Block
    start: int
    end: int


def compact(text: str) -> str:
    """Reduce a text to its letters and digits, which no extractor changes."""
    return NOT_LETTERS.sub("", text)


def main_blocks(page: Page, extracted: Element) -> list[Block]:
    """Return the blocks of the page that make up the extracted body, in DOM order, with what the extractor lost there.

    Where the extractor joined or cut a block, or chose from a page of which all is hidden, its own text takes the
    block's place and order.
    """
    units = list(_units(extracted))
    text = "".join(compact(unit.text) for unit in units)
    compacted = [compact(block.text) for block in page.blocks]
    matches = _match(page.blocks, compacted, text, units)
    kept = _without_chrome(_fill(matches, units, page.blocks, compacted))
    return recovered(page, kept, _depth(kept)) if kept and page.blocks else kept


def _without_chrome(blocks: Sequence[Block]) -> list[Block]:
    """Drop blocks deeper in navigation than most of the text, which some pages wrap in an "ads" box themselves."""
    allowed = _depth(blocks)
    return [block for block in blocks if block.chrome <= allowed]


def _depth(blocks: Sequence[Block]) -> int:
    """Return how many elements of page furniture enclose most of the text."""
    sizes: Counter[int] = Counter()
    for block in blocks:
        sizes[block.chrome] += len(block.text)
    return max(sizes, key=lambda depth: sizes[depth], default=0)


def _units(body: Element) -> Iterator[Unit]:
    """Cut the extractor's tree into its innermost blocks, in order."""
    position = 0
    for kind, text in _pieces(body, "paragraph"):
        length = len(compact(text))
        if length:
            yield Unit(kind, text, position, position + length)
            position += length


def _pieces(element: Element, kind: str) -> Iterator[tuple[str, str]]:
    gathered = [element.text or ""]
    for child in element:
        if child.tag in UNITS or child.tag in ("list", "table"):
            yield kind, " ".join("".join(gathered).split())
            gathered.clear()
            yield from _pieces(child, KINDS.get(child.tag, kind if child.tag == "p" else "paragraph"))
        elif child.tag == "lb":
            gathered.append("\n")
        else:
            gathered.append(
                "".join(child.itertext()) + (" | " if child.tag == "cell" and child.getnext() is not None else "")
            )
        gathered.append(child.tail or "")
    yield kind, " ".join("".join(gathered).split())


def _match(blocks: Sequence[Block], compacted: Sequence[str], text: str, units: Sequence[Unit]) -> list[Match]:
    """Find DOM blocks in the extracted text: unmistakable ones first, then the short ones in the gaps between them."""
    anchors = _ascending(_anchors(blocks, compacted, text))
    edges = {unit.start for unit in units} | {unit.end for unit in units}
    matches: list[Match] = []
    first = position = 0
    for anchor in [*anchors, None]:
        last = anchor.block.order if anchor else len(blocks)
        limit = anchor.start if anchor else len(text)
        for block, letters in zip(blocks[first:last], compacted[first:last], strict=True):
            start = _find_short(letters, text, position, limit, edges)
            if start >= 0:
                position = start + len(letters)
                matches.append(Match(block, start, position))
        if anchor:
            matches.append(anchor)
            first, position = last + 1, anchor.end
    return matches


def _anchors(blocks: Sequence[Block], compacted: Sequence[str], text: str) -> Iterator[Match]:
    position = 0
    for block, letters in zip(blocks, compacted, strict=True):
        if len(letters) >= ANCHOR:
            start = text.find(letters, position)
            start = start if start >= 0 else text.find(letters, 0, position + len(letters))
            if start >= 0:
                position = start + len(letters)
                yield Match(block, start, position)


def _ascending(matches: Iterator[Match]) -> list[Match]:
    """Keep the longest run of matches that ascend in both texts (patience sorting), without overlaps."""
    tails: list[int] = []
    piles: list[tuple[Match, int | None]] = []
    tops: list[int] = []
    for match in matches:
        pile = bisect_left(tails, match.start)
        piles.append((match, tops[pile - 1] if pile else None))
        if pile == len(tails):
            tails.append(match.start)
            tops.append(len(piles) - 1)
        else:
            tails[pile], tops[pile] = match.start, len(piles) - 1
    chain: list[Match] = []
    index: int | None = tops[-1] if tops else None
    while index is not None:
        match, index = piles[index]
        if not chain or match.end <= chain[-1].start:
            chain.append(match)
    return chain[::-1]


def _find_short(letters: str, text: str, position: int, limit: int, edges: set[int]) -> int:
    if not letters or limit - position < len(letters):
        return -1
    start = text.find(letters, position, limit)
    if len(letters) >= SHORT:
        return start
    while start > position and start not in edges and start + len(letters) not in edges:
        start = text.find(letters, start + 1, limit)
    return start


def _fill(
    matches: list[Match], units: Sequence[Unit], blocks: Sequence[Block], compacted: Sequence[str]
) -> list[Block]:
    """Add the extractor's units that no match covers, at the place and order of the DOM block that holds them.

    A block of which they hold several pieces, or most words, stands for them itself: extractors drop words from within
    sentences. One piece of a block is what the extractor chose of it.
    """
    found: list[tuple[int, Block]] = [(match.start, match.block) for match in matches]
    ends = [match.end for match in matches]
    starts = [match.start for match in matches]
    homes: dict[int, list[Unit]] = {}
    for unit in units:
        if _covered(unit, matches, starts, ends) * 2 >= unit.end - unit.start:
            continue
        before, after = bisect_right(ends, unit.start), bisect_left(starts, unit.end)
        first = matches[before - 1].block.order if before else 0
        last = matches[after].block.order if after < len(matches) else len(blocks)
        home = _home(unit, blocks[first:last], compacted[first:last]) or _home(unit, blocks, compacted)
        if home is None:
            found.append((unit.start, Block(unit.kind, None, unit.text, first)))
        else:
            homes.setdefault(home.order, []).append(unit)
    matched = {match.block.order for match in matches}
    for order, inside in homes.items():
        home = blocks[order]
        whole = len(inside) > 1 or compact(inside[0].text) not in compacted[order]
        if (
            whole
            and order not in matched
            and 2 * sum(unit.end - unit.start for unit in inside) >= len(compacted[order])
        ):
            found.append((inside[0].start, home))
        else:
            found += [(unit.start, replace(home, text=unit.text, markup=None)) for unit in inside]
    return [block for _, block in sorted(found, key=lambda item: item[0])]


def _home(unit: Unit, blocks: Sequence[Block], compacted: Sequence[str]) -> Block | None:
    """Return the block that holds a unit's letters, else the first that holds nearly all of its words."""
    letters = compact(unit.text)
    home = next((block for block, text in zip(blocks, compacted, strict=True) if letters in text), None)
    words = Counter(WORD.findall(unit.text))
    if home is not None or words.total() < MIN_WORDS:
        return home
    lacking = MAX_LACKING * words.total()
    return next((block for block in blocks if (words - Counter(WORD.findall(block.text))).total() <= lacking), None)


def _covered(unit: Unit, matches: Sequence[Match], starts: Sequence[int], ends: Sequence[int]) -> int:
    covered = 0
    for index in range(bisect_right(ends, unit.start), bisect_left(starts, unit.end)):
        covered += min(unit.end, matches[index].end) - max(unit.start, matches[index].start)
    return covered


def main_references(page: Page, kept: Sequence[Block], covers: Sequence[str] = ()) -> list[Reference]:
    """Return the media amid or next to the kept blocks, without what stands in navigation, asides and footers.

    `covers` are the pictures that the page declares as its own (og:image): one of them before the end is kept anywhere.
    """
    near = _nearness(page, kept)
    last = max((block.order for block in kept), default=len(page.blocks))
    keys = {key for url in covers if len(key := file_key(url)) >= MIN_KEY}
    allowed = _depth(kept)
    seen: set[str] = set()
    references = []
    for reference in page.references:
        cover = bool(keys) and reference.place <= last and file_key(reference.url) in keys
        if reference.url not in seen and (cover or (reference.chrome <= allowed and near(reference))):
            seen.add(reference.url)
            keys -= {file_key(reference.url)} if cover else set()
            references.append(replace(reference, caption=_caption(page, reference)))
    return references


def _nearness(page: Page, kept: Sequence[Block]) -> Callable[[Reference], bool]:
    """Return the test whether a reference stands amid the kept blocks, heads them or ends them."""
    if not kept:
        return lambda reference: True
    orders = {block.order for block in kept}
    headline = _headline(page.blocks, orders)
    distances = _distances(page.blocks, orders | headline)
    first, last = min(orders), max(orders)
    top = min(headline, default=first)
    root = root_of(page, kept)
    inside = inside_of(page, root)
    around = inside_of(page, page.boxes[page.boxes[root]])  # where the picture at the head of an article may stand

    def near(reference: Reference) -> bool:
        place, box = reference.place, reference.box
        if first < place <= last or (reference.inside and place == first):
            return around[box] or reference.inside
        if reference.leads_away or is_banner(reference.url):
            return False
        if place > last:
            return inside[box] and all(block.kind == "caption" for block in page.blocks[last + 1 : place])
        return (place >= top or around[box]) and distances[place] <= CLOSE

    return near


def _caption(page: Page, reference: Reference) -> str | None:
    texts = (" ".join(page.blocks[order].text.split()) for order in caption_orders(reference, page))
    return " ".join(texts) or None


def caption_orders(reference: Reference, page: Page) -> Sequence[int]:
    """Return the orders of a reference's captions: those of its figure, else the caption that follows it at once."""
    if reference.figure is not None and reference.figure in page.captions:
        return page.captions[reference.figure]
    follows = reference.place + reference.inside
    if follows >= len(page.blocks) or page.blocks[follows].kind != "caption":
        return ()
    return () if any(follows in orders for orders in page.captions.values()) else (follows,)


def with_captions(page: Page, kept: Sequence[Block], references: Sequence[Reference]) -> list[Block]:
    """Add the captions of the kept media to the kept blocks, at their place."""
    orders = {block.order for block in kept}
    added = {order for item in references for order in caption_orders(item, page) if order not in orders}
    reached = list(accumulate((block.order for block in kept), max))
    places = [(index, 1, block) for index, block in enumerate(kept)]
    places += [(bisect_left(reached, order), 0, page.blocks[order]) for order in sorted(added)]
    return [block for _, _, block in sorted(places, key=lambda item: item[:2])]


def _headline(blocks: Sequence[Block], kept: set[int]) -> set[int]:
    """Return the order of the last top heading before the content: a picture under it is the article's own."""
    before = blocks[: min(kept, default=0)]
    headings = [block.order for block in before if block.kind == "heading" and block.level == 1 and not block.chrome]
    return set(headings[-1:])


def _distances(blocks: Sequence[Block], kept: set[int]) -> list[int]:
    """Return, for every place between blocks, the letters of rejected text between it and the nearest kept block."""
    far = 1 << 30
    forward, backward = [far] * (len(blocks) + 1), [far] * (len(blocks) + 1)
    for place, block in enumerate(blocks):
        weight = _weight(block)
        forward[place + 1] = 0 if block.order in kept else forward[place] + weight
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        backward[place] = 0 if block.order in kept else backward[place + 1] + _weight(block)
    return [min(pair) for pair in zip(forward, backward, strict=True)]


def _weight(block: Block) -> int:
    """Return how far a rejected block holds a picture from the content: captions and rows of buttons do not."""
    return 0 if block.kind == "caption" or 2 * block.linked > len(block.text) else len(block.text)


def anchors(references: Sequence[Reference], page: Page, kept: Sequence[Block]) -> list[int | None]:
    """Return for each reference the index in `kept` of its block: its own, its caption, else the last before."""
    index_of = {block.order: index for index, block in reversed(list(enumerate(kept)))}
    orders = sorted(index_of)
    found: list[int | None] = []
    for reference in references:
        near = [*caption_orders(reference, page), *([reference.place] if reference.inside else [])]
        before = bisect_left(orders, reference.place)
        last = index_of[orders[max(before - 1, 0)]] if orders else None
        found.append(next((index_of[order] for order in near if order in index_of), last))
    return found
