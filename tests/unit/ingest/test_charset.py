"""Decoding: proof before declaration before guess."""

import pytest

from ingest.charset import decode_text, is_binary

CHINESE = "中文网页的内容需要正确地解码，否则就是乱码。"


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (CHINESE.encode(), "text/html; charset=iso-8859-1"),  # valid UTF-8 outweighs a wrong header
        (CHINESE.encode("utf-8-sig"), None),
        (CHINESE.encode("utf-16"), "text/html"),
        (CHINESE.encode("gb18030"), "text/html; charset=gb2312"),
        (f'<meta charset="gbk">{CHINESE}'.encode("gbk"), "text/html"),
        (f'<meta http-equiv="Content-Type" content="text/html; charset=big5">{CHINESE[:2]}'.encode("big5"), None),
        ((CHINESE * 20).encode("gb18030"), "text/html"),  # undeclared: guessed
    ],
)
def test_text_is_decoded(payload: bytes, content_type: str | None) -> None:
    assert CHINESE[:2] in decode_text(payload, content_type)


def test_a_lying_or_unknown_charset_never_raises() -> None:
    assert decode_text(b"caf\xe9", "text/html; charset=utf-8").startswith("caf")
    assert decode_text(b"caf\xe9 au lait", "text/html; charset=x-unknown").startswith("caf")
    assert decode_text(b"", None) == ""


@pytest.mark.parametrize("name", ["hex", "rot13", "idna", "punycode", "undefined", "unicode_escape", "utf-7", "cp037"])
def test_a_codec_of_python_s_own_is_no_charset_of_the_web(name: str) -> None:
    text = decode_text(b"caf\xe9 \\ud800 +2AA-", f"text/html; charset={name}")
    assert text.startswith("caf")
    text.encode()  # no lone surrogates


def test_binary_is_told_from_text() -> None:
    assert is_binary(bytes(range(256)))
    assert not is_binary(CHINESE.encode("gb18030"))
    assert not is_binary("text".encode("utf-16"))
