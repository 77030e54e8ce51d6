"""Blocks of the main content that the extractor lost, and blocks that it kept by mistake."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ingest.blocks import Block, Page

ROOT_SHARE = 0.95  # of the kept letters that the content's own element holds
MAX_LINKED = 0.5  # of a lost block's characters; more is navigation
MAX_LINKED_TABLE = 0.2  # of a table's: "Previous | Up | Next" is one too
PROSE = 40  # characters from which a lost paragraph that ends as a sentence is content
IDEOGRAPHS = 3  # a Chinese character says about as much as three letters
ENDED = re.compile(r"[.!?…:;。！？：；][\"'”’)\]」』）\s]*$")
IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
FAR = 1500  # characters of rejected text between two groups of kept blocks
LITTLE = 0.2  # of the largest group's text
CONTAINERS = ("article", "body", "center", "div", "main", "section", "td")  # elements that hold an article
SOLID = ("code", "table")
PROMOTION = re.compile(
    r"\W*(?:(?:related|read more|also read|read also|see also|also on|more from|you may also like|recommended|sign up"
    r"|subscribe|follow us|like this story|click here to (?:subscribe|read|sign)|get the latest|advert(?:isement)?s?"
    r"|trending|popular on|our latest)\b|相关(?:阅读|新闻|链接)|延伸阅读|推荐阅读|更多精彩|点击关注|责任编辑)",
    re.IGNORECASE,
)
MAX_PROMOTION = 160  # characters


def recovered(page: Page, kept: Sequence[Block], allowed: int) -> list[Block]:
    """Add to the kept blocks those that the extractor lost from the same element; drop promotions and orphan headings.

    `allowed` is how many elements of page furniture may enclose a block.
    """
    kept = _together(page, kept)
    inside = inside_of(page, root_of(page, kept))
    orders = {block.order for block in kept}
    texts = {block.text for block in kept}
    tags = {page.tags[block.box] for block in kept}
    before = page.blocks[: min(orders)]
    start = max((block.order for block in before if block.kind == "heading" and block.level == 1), default=0)
    found = {
        block.order: block
        for run in _runs(page.blocks[start:], orders, inside, allowed)
        if any(map(_solid, run)) or (len(run) > 1 and run[0].kind == "list_item")
        for block in run
        if block.text not in texts and (page.tags[block.box] != "div" or "div" in tags)
    }
    found |= {block.order: block for block in _labels(page, orders | found.keys(), inside, allowed)}
    merged = _merged(kept, [found[order] for order in sorted(found)])
    return _without_orphans([block for block in merged if not _promotes(block)])


def _together(page: Page, kept: Sequence[Block]) -> Sequence[Block]:
    """Drop what stands far from the rest of the content and is little beside it: teasers of other pages."""
    groups: list[list[Block]] = []
    last = 0
    passed = list(accumulate((len(block.text) for block in page.blocks), initial=0))
    for block in sorted(kept, key=lambda block: block.order):
        if not groups or passed[block.order] - last > FAR:
            groups.append([])
        groups[-1].append(block)
        last = passed[min(block.order + 1, len(page.blocks))]
    sizes = [sum(len(block.text) for block in group) for group in groups]
    few = {id(b) for group, size in zip(groups, sizes, strict=True) if size < LITTLE * max(sizes) for b in group}
    return [block for block in kept if id(block) not in few]


def root_of(page: Page, kept: Sequence[Block]) -> int:
    """Return the innermost element that holds nearly all of the kept text, as a place in `page.boxes`."""
    weights = [0] * len(page.boxes)
    for block in kept:
        weights[block.box] += len(block.text)
    for box in range(len(weights) - 1, 0, -1):
        weights[page.boxes[box]] += weights[box]
    enough = ROOT_SHARE * weights[0]
    root = max(box for box, weight in enumerate(weights) if weight >= enough)
    while page.tags[root] not in CONTAINERS and root:
        root = page.boxes[root]
    return root


def inside_of(page: Page, root: int) -> list[bool]:
    """Tell of every element whether it stands in the one at `root`."""
    inside = [False] * len(page.boxes)
    inside[root] = True
    for box in range(root + 1, len(inside)):
        inside[box] = inside[page.boxes[box]]
    return inside


def _runs(blocks: Sequence[Block], kept: set[int], inside: Sequence[bool], allowed: int) -> Iterator[list[Block]]:
    """Yield each run of neighbouring lost blocks that may be content."""
    run: list[Block] = []
    for block in blocks:
        if block.order not in kept and block.kind not in ("caption", "heading") and _eligible(block, inside, allowed):
            run.append(block)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _eligible(block: Block, inside: Sequence[bool], allowed: int) -> bool:
    return inside[block.box] and block.chrome <= allowed and block.linked <= MAX_LINKED * len(block.text)


def _solid(block: Block) -> bool:
    """Tell whether a lost block must be content: code, a table, or prose."""
    if block.kind in SOLID:
        return block.linked < MAX_LINKED_TABLE * len(block.text)
    size = len(block.text) + (IDEOGRAPHS - 1) * len(IDEOGRAPH.findall(block.text))
    return size >= PROSE and ENDED.search(block.text) is not None


def _labels(page: Page, kept: set[int], inside: Sequence[bool], allowed: int) -> Iterator[Block]:
    """Yield lost headings of kept text, and the terms and short items of lists whose neighbours are kept."""
    lists = {page.boxes[page.blocks[order].box] for order in kept if page.blocks[order].kind == "list_item"}
    follows = False  # whether the next block that is no heading is kept
    for block in reversed(page.blocks):
        if block.order in kept:
            follows = True
        elif block.kind == "heading":
            if follows and _eligible(block, inside, allowed):
                yield block
        elif block.kind == "list_item" and page.boxes[block.box] in lists and _eligible(block, inside, allowed):
            follows = True
            yield block
        elif block.kind != "caption":
            follows = False


def _merged(kept: Sequence[Block], found: Sequence[Block]) -> list[Block]:
    """Insert found blocks by their order; where the kept ones do not ascend, behind the last that comes before."""
    merged: list[Block] = []
    waiting = iter(found)
    block = next(waiting, None)
    for one in kept:
        while block is not None and block.order < one.order:
            merged.append(block)
            block = next(waiting, None)
        merged.append(one)
    return [*merged, *([block] if block is not None else []), *waiting]


def _promotes(block: Block) -> bool:
    return (
        len(block.text) <= MAX_PROMOTION
        and PROMOTION.match(block.text) is not None
        and (block.linked > 0 or block.kind == "heading" or len(block.text) < PROSE)
        and block.kind != "list_item"
    )


def _without_orphans(blocks: list[Block]) -> list[Block]:
    """Drop the headings at the end, under which nothing is left."""
    last = max((index for index, block in enumerate(blocks) if block.kind != "heading"), default=-1)
    return blocks[: last + 1] or blocks
