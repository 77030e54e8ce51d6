"""A PDF as blocks of text in reading order: pdfium reads the lines, their sizes and gaps tell what they are."""

import ctypes
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pypdfium2
from pypdfium2 import raw

from catalog.schema import Reason
from ingest.blocks import Block
from ingest.metadata import Metadata
from ingest.rejected import Rejected

HEADING_RATIO = 1.1  # of a heading's size to that of most text
MAX_HEADING = 200  # characters
MAX_LEVELS = 4
GAP_RATIO = 1.35  # of the distance between paragraphs to that between lines
NEW_COLUMN = 3.0  # lines upwards from which a line starts another column
FURNITURE_PAGES = 3  # pages on which a first or last line is repeated, digits aside, to be a header or footer
FURNITURE_LINES = 2  # lines at either end of a page that may be one
DIGITS = re.compile(r"\d+|\b[ivxlc]+\b")
BULLET = re.compile(r"\s*(?:[•‣◦▪●○■∙·*–—-]|\(?(?:\d{1,2}|[a-z])[.)])\s+")
HYPHENS = re.compile("[\ufffe\x02]")  # what pdfium writes where it has joined a word that was cut at a line's end
MONOSPACED = re.compile(rb"mono|courier|consol|cmtt|sftt|typewriter", re.IGNORECASE)
JUNK_TITLE = re.compile(r"untitled|microsoft word|\.(?:docx?|tex|dvi|indd|pdf)$|^\W*$", re.IGNORECASE)
PASSWORD_ERRORS = ("password", "security")  # in pdfium's words for what is encrypted


@dataclass(slots=True)
class Line:
    """One line of a page; sizes and places in points, `top` measured from the bottom of the page."""

    text: str
    page: int
    size: float
    top: float
    code: bool


def read_pdf(payload: bytes, max_pages: int) -> tuple[list[Block], Metadata]:
    """Return the text blocks and the declared metadata of a PDF; raise Rejected if it cannot be read."""
    try:
        document = pypdfium2.PdfDocument(payload)
    except pypdfium2.PdfiumError as error:
        if any(word in str(error).lower() for word in PASSWORD_ERRORS):
            raise Rejected(Reason.ENCRYPTED, "the PDF opens only with a password") from error
        raise Rejected(Reason.EXTRACTOR_FAILED, f"not a readable PDF: {error}") from error
    try:
        if len(document) > max_pages:
            raise Rejected(Reason.TOO_LARGE, f"{len(document)} pages, more than max_pdf_pages {max_pages}")
        lines = _without_furniture([_lines(document, number) for number in range(len(document))])
        if not lines:
            raise Rejected(Reason.EMPTY_TEXT, f"no text in {len(document)} PDF pages; a scan needs recognition first")
        blocks = list(_blocks(lines))
        return blocks, _metadata(document.get_metadata_dict(), blocks)
    finally:
        document.close()


def _lines(document: pypdfium2.PdfDocument, number: int) -> list[Line]:
    try:
        page = document[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError as error:
        raise Rejected(Reason.EXTRACTOR_FAILED, f"page {number + 1} of the PDF cannot be read: {error}") from error
    text = text_page.get_text_range()
    lines, position = [], 0
    for line in text.split("\r\n"):
        if line.strip():
            middle = position + len(line) // 2
            box = raw.FS_RECTF()
            raw.FPDFText_GetLooseCharBox(text_page, position + len(line) - len(line.lstrip()), box)
            other = raw.FS_RECTF()
            raw.FPDFText_GetLooseCharBox(text_page, middle, other)
            height = max(box.top - box.bottom, other.top - other.bottom)  # superscripts and spaces are smaller
            places = (position + len(line) - len(line.lstrip()), middle, position + len(line.rstrip()) - 1)
            code = all(MONOSPACED.search(_font(text_page, place)) for place in places)
            lines.append(Line(HYPHENS.sub("", line.rstrip()), number, round(height, 1), box.top, code))
        position += len(line) + 2
    text_page.close()
    page.close()
    return lines


def _font(text_page: pypdfium2.PdfTextPage, index: int) -> bytes:
    name = ctypes.create_string_buffer(64)
    raw.FPDFText_GetFontInfo(text_page, index, name, len(name), ctypes.c_int())
    return name.value


def _without_furniture(pages: Sequence[list[Line]]) -> list[Line]:
    """Join the pages' lines without running headers, footers and page numbers."""
    ends = [[*lines[:FURNITURE_LINES], *lines[FURNITURE_LINES:][-FURNITURE_LINES:]] for lines in pages]
    counts = Counter(key for lines in ends for key in {_key(line) for line in lines})
    often = max(FURNITURE_PAGES, len(pages) // 20)
    furniture = {
        id(line) for lines in ends for line in lines if counts[_key(line)] >= often or not _key(line).strip(" #-–|.")
    }
    return [line for lines in pages for line in lines if id(line) not in furniture]


def _key(line: Line) -> str:
    return DIGITS.sub("#", line.text.lower()).strip()


def _blocks(lines: Sequence[Line]) -> Iterator[Block]:
    body = _body_size(lines)
    levels = _levels(lines, body)
    steps = sorted(one.top - two.top for one, two in pairwise(lines) if one.page == two.page and one.top > two.top)
    step = steps[len(steps) // 4] if steps else body  # most lines follow another of their paragraph
    paragraph: list[Line] = []
    order = 0
    for line in lines:
        if paragraph and _separated(paragraph[-1], line, step, levels):
            yield _block(paragraph, order, levels)
            order += 1
            paragraph = []
        paragraph.append(line)
    yield _block(paragraph, order, levels)


def _body_size(lines: Iterable[Line]) -> float:
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    return max(sizes, key=lambda size: sizes[size])


def _levels(lines: Iterable[Line], body: float) -> dict[float, int]:
    """Rank the sizes that are clearly larger than most text: the largest is level 1."""
    large = sorted({line.size for line in lines if line.size >= HEADING_RATIO * body and not line.code}, reverse=True)
    return {size: min(rank, MAX_LEVELS) for rank, size in enumerate(large, 1)}


def _separated(last: Line, line: Line, step: float, levels: dict[float, int]) -> bool:
    """Tell whether a line starts a block of its own."""
    if last.code != line.code or levels.get(last.size) != levels.get(line.size) or BULLET.match(line.text):
        return True
    if last.page != line.page:  # a sentence may go on over the page
        return last.text.rstrip().endswith((".", "!", "?", ":", "。", "！", "？")) or line.size in levels
    distance = last.top - line.top
    limit = max(step, last.size if line.size in levels else 0.0) * GAP_RATIO
    return distance > limit or distance < -NEW_COLUMN * step


def _block(lines: Sequence[Line], order: int, levels: dict[float, int]) -> Block:
    if lines[0].code:
        return Block("code", None, "\n".join(line.text for line in lines), order)
    text = ""
    for line in lines:
        text = f"{text} {line.text.strip()}" if text else line.text.strip()
    level = levels.get(lines[0].size)
    if level is not None and len(text) <= MAX_HEADING:
        return Block("heading", level, text, order)
    return Block("list_item", 1, text, order) if BULLET.match(text) else Block("paragraph", None, text, order)


def _metadata(declared: dict[str, str], blocks: Sequence[Block]) -> Metadata:
    title = " ".join(declared.get("Title", "").split())
    if not title or JUNK_TITLE.search(title):
        headings = [block for block in blocks[:20] if block.kind == "heading"]
        title = min(headings, key=lambda block: (block.level or 0, block.order)).text if headings else ""
    day = re.match(r"D:(\d{4})([01]\d)([0-3]\d)", declared.get("CreationDate", ""))
    author = " ".join(declared.get("Author", "").split())
    return Metadata(title=title or None, author=author or None, date="-".join(day.groups()) if day else None)
