"""PDFs: blocks in reading order, and a reason for each that cannot be read."""

import pytest

from catalog.schema import Reason
from ingest.document import read_document
from ingest.pdf import read_pdf
from ingest.rejected import Rejected
from ingest.settings import CleaningRules, ExtractSettings
from tests.support.pdfs import Row, make_pdf

SENTENCE = "The river rises in the hills, and it flows through three towns"


def page(number: int, *rows: Row) -> list[Row]:
    return [(9, 810, f"Rivers of the North, page {number}"), *rows, (9, 30, str(number))]


PAGES = [
    page(
        1,
        (24, 760, "Rivers"),
        (10, 720, SENTENCE),
        (10, 708, "before it reaches the sea at last."),
        (10, 680, "A second paragraph stands apart from the first."),
        (10, 660, "1. one step"),
        (10, 648, "2. another step"),
        (10, 620, "$ cat river"),
        (10, 608, "$ tail sea"),
    ),
    page(2, (14, 760, "Where they end"), (10, 740, "They end in the sea, which goes on")),
    page(3, (10, 760, "for as long as the eye can reach.")),
]


def test_lines_become_headings_paragraphs_lists_and_code_without_running_heads() -> None:
    blocks, metadata = read_pdf(make_pdf(PAGES, "Rivers of the North"), 10)
    assert [(block.kind, block.level, block.text) for block in blocks] == [
        ("heading", 1, "Rivers"),
        ("paragraph", None, f"{SENTENCE} before it reaches the sea at last."),
        ("paragraph", None, "A second paragraph stands apart from the first."),
        ("list_item", 1, "1. one step"),
        ("list_item", 1, "2. another step"),
        ("code", None, "$ cat river\n$ tail sea"),
        ("heading", 2, "Where they end"),
        ("paragraph", None, "They end in the sea, which goes on for as long as the eye can reach."),
    ]
    assert [block.order for block in blocks] == list(range(len(blocks)))
    assert (metadata.title, metadata.author, metadata.date) == ("Rivers of the North", "A. Writer", "2024-02-29")


def test_a_file_s_name_is_no_title() -> None:
    assert read_pdf(make_pdf(PAGES, "Microsoft Word - draft.doc"), 10)[1].title == "Rivers"


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (make_pdf(PAGES, locked=True), Reason.ENCRYPTED, "password"),
        (b"%PDF-1.7\nrubbish", Reason.EXTRACTOR_FAILED, "not a readable PDF"),
        (make_pdf([[]]), Reason.EMPTY_TEXT, "no text in 1 PDF pages"),
        (make_pdf([*PAGES, *PAGES]), Reason.TOO_LARGE, "6 pages, more than max_pdf_pages 5"),
    ],
    ids=["encrypted", "corrupt", "scanned", "long"],
)
def test_what_cannot_be_read_has_a_reason(payload: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(Rejected, match=said) as caught:
        read_pdf(payload, 5)
    assert caught.value.reason == reason


def test_a_pdf_is_a_document_like_any_other() -> None:
    row = {"url": "https://e.org/a.pdf", "page_id": "p", "content_type": "application/pdf"}
    document = read_document(make_pdf(PAGES, "Rivers"), "pdf", row, CleaningRules(), ExtractSettings())
    assert (document["title"], document["language"], document["media"]) == ("Rivers", "en", [])
    assert document["text"].startswith(f"Rivers\n\n{SENTENCE} before")
    with pytest.raises(Rejected, match="more than max_pdf_bytes 100"):
        read_document(make_pdf(PAGES), "pdf", row, CleaningRules(), ExtractSettings(max_pdf_bytes=100))
