"""PII: what is certain is masked, what only looks like it stays."""

import pytest

from ingest.pii import is_card, is_chinese_id, mask

KINDS = ("email", "phone", "cn_id", "card", "ip")


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
