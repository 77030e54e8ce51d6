"""URLs: one parser, one canonical form."""

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.urls import canonical, file_url, host_of, hostname_of, origin_of, port_of, type_by_name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.COM:80/a/../b?q=1#part", "http://example.com/b?q=1"),
        ("https://user:secret@example.com/", "https://example.com/"),
        ("http://good.com\\@127.0.0.1/", "http://good.com/@127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("  http://a/b \n", "http://a/b"),
        ("mailto:a@b", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("http://", None),
        ("/relative", None),
    ],
)
def test_canonical(url: str, expected: str | None) -> None:
    assert canonical(url) == expected


def test_relative_urls_are_resolved_but_never_out_of_the_web() -> None:
    assert canonical("../x?y", "http://h/a/b/c") == "http://h/a/x?y"
    assert canonical("//other/x", "https://h/") == "https://other/x"
    assert canonical("file:///etc/passwd", "http://h/") is None


@given(st.text(max_size=60))
def test_canonical_is_idempotent(text: str) -> None:
    first = canonical(f"http://host/{text}")
    assert first is not None
    assert canonical(first) == first


@given(st.text(max_size=30), st.sampled_from(("h", "h:80", "h:8080", "[::1]:9", "u:p@h", "1.2", "bücher.example.")))
def test_host_and_origin_are_what_the_parser_says(text: str, host: str) -> None:
    url = canonical(f"https://{host}/{text}")
    assert url is not None
    parsed = ada_url.URL(url)
    assert (host_of(url), origin_of(url)) == (parsed.host, parsed.origin)


def test_parts() -> None:
    url = "http://[::1]:8000/x"
    assert (host_of(url), hostname_of(url), port_of(url), origin_of(url)) == (
        "[::1]:8000", "::1", 8000, "http://[::1]:8000",
    )  # fmt: skip
    assert port_of("https://h/") == 443
    assert host_of("file:///a") == ""


def test_file_urls_and_types() -> None:
    assert file_url("/tmp/caf\udce9 100%.html") == "file:///tmp/caf%E9%20100%25.html"  # a name that is no UTF-8
    assert file_url("/a b/c?d#e%20.md") == "file:///a%20b/c%3Fd%23e%2520.md"
    assert type_by_name("file:///a/b.md") == "text/markdown"
    assert type_by_name("http://h/x.WEBP?v=2") == "image/webp"
    assert type_by_name("http://h/x.flac") == "audio/flac"
    assert type_by_name("http://h/x") == "application/octet-stream"
