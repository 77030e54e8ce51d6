"""PII: what is certain is masked, what only looks like it stays; measured on labelled lines, English and Chinese."""

import re
from collections import Counter
from pathlib import Path

import pytest

from catalog.pii import is_card, is_chinese_id, mask, mask_pieces
from ingest.document import read_document
from ingest.settings import CleaningRules, ExtractSettings

KINDS = ("email", "phone", "cn_id", "card", "passport", "ip")
LABELLED = Path(__file__).with_name("pii_labelled.txt")
MARK = re.compile(r"\{(\w+)\|([^{}]*)\}")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Jane.Doe+x@mail.example.co.uk.", "write to [EMAIL]."),
        ("邮箱：wang@example.cn，谢谢", "邮箱：[EMAIL]，谢谢"),
        ("身份证11010519491231002X。", "身份证[CN_ID]。"),
        ("手机13812345678或138 1234 5678", "手机[PHONE]或[PHONE]"),
        ("电话 010-62511111", "电话 [PHONE]"),
        ("call +44 20 7946 0958 now", "call [PHONE] now"),
        ("call (212) 736-5000 now", "call [PHONE] now"),
        ("card 4111 1111 1111 1111 expires", "card [CARD] expires"),
        ("card 4111-1111-1111-1111.", "card [CARD]."),
        ("from 8.8.8.8 port 53", "from [IP] port 53"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask(text, KINDS)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "110105194912310021 has a wrong check character",
        "11010519491331002X was born in month 13",
        "4111 1111 1111 1112 fails Luhn",
        "0000 0000 0000 0000",
        "on 2019-11-20 14:30:15, 1 234 567 people",
        "version 1.2.3.4000 and ISBN 978-3-16-148410-0",
        "192.168.1.1 is private and 256.1.1.1 no address",
        "the years 1914-1918, pages 212-736",
        "id 20191120143015123456789",
        "foo@bar and @name and user@localhost",
        "3.14159265358979",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert mask(text, KINDS) == (text, {})


def test_kinds_are_chosen_and_hits_counted() -> None:
    text = "a@example.org b@example.org 8.8.8.8"
    assert mask(text, ("email",)) == ("[EMAIL] [EMAIL] 8.8.8.8", {"email": 2})
    assert mask(text, ()) == (text, {})


def test_checksums() -> None:
    assert is_chinese_id("11010519491231002X") and is_chinese_id("11010519491231002x")
    assert is_card("378282246310005") and not is_card("1234567812345670")


def test_precision_and_recall_on_the_labelled_lines() -> None:
    lines = [line for line in LABELLED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for line in lines:
        marked = Counter(mark[1] for mark in MARK.finditer(line))
        text, hits = mask(MARK.sub(lambda mark: mark[2], line), KINDS)
        wanted.update(marked)
        found.update(hits)
        right.update(hits if text == MARK.sub(lambda mark: f"[{mark[1].upper()}]", line) else Counter())
    assert len(lines) >= 150
    assert min(wanted[kind] for kind in KINDS) >= 6
    for kind in KINDS:
        assert right[kind] >= 0.95 * found[kind], f"precision of {kind}: {right[kind]} of {found[kind]}"
        assert right[kind] >= 0.95 * wanted[kind], f"recall of {kind}: {right[kind]} of {wanted[kind]}"


def test_every_published_text_is_masked_and_no_address_is() -> None:
    page = """<html lang="en"><head><title>Call 13812345678</title><meta name="author" content="ann@example.org">
    </head><body><article><h1>About me@example.org</h1><p>The river rises in the hills and flows to the sea.
    Mail <a href="mailto:me@example.org">me@example.org</a>, card 4111 1111 1111 1111.</p>
    <figure><img src="/13812345678.png" alt="id 11010519491231002X"><figcaption>by me@example.org</figcaption></figure>
    <pre>send("me@example.org")</pre></article></body></html>"""
    row = {"url": "https://e.org/me@example.org", "page_id": "p", "content_type": "text/html"}
    document = read_document(page.encode(), "html", row, CleaningRules(), ExtractSettings())
    (media,) = document["media"]
    assert (document["url"], media["url"]) == ("https://e.org/me@example.org", "https://e.org/13812345678.png")
    assert (document["title"], media["alt"], media["caption"]) == ("Call [PHONE]", "id [CN_ID]", "by [EMAIL]")
    texts = [document[name] or "" for name in ("title", "author", "text", "analysis_text")]
    personal = re.compile(r"@example|1381234|4111 1111|110105")
    assert not personal.search("\n".join([*texts, media["alt"], media["caption"]]))
    hits = {hit["rule"]: hit["hits"] for hit in document["rule_hits"]}
    assert {"pii_phone", "pii_email", "pii_cn_id", "pii_card"} <= hits.keys()


def test_pieces_are_masked_as_the_text_that_they_make_up() -> None:
    pieces = ["Call", " (212)", " 736-", "5000", ", mail jane", "@", "example.org, or +44 20", " 7946 0958."]
    found = mask_pieces(pieces, KINDS)
    assert found == ["Call", " [PHONE]", "", "", ", mail [EMAIL]", "", ", or [PHONE]", "."]
    assert "".join(found) == mask("".join(pieces), KINDS)[0]
    assert mask_pieces(pieces, ()) == pieces
    assert mask_pieces([], KINDS) == []


def test_cutting_a_text_into_pieces_changes_nothing_that_is_masked() -> None:
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        text = MARK.sub(lambda mark: mark[2], line)
        whole, _ = mask(text, KINDS)
        assert "".join(mask_pieces(list(text), KINDS)) == whole
        assert "".join(mask_pieces([text[:20], text[20:]], KINDS)) == whole
