"""Lists and local files as hostile or careless people write them."""

from pathlib import Path

import pytest

from catalog.errors import ConfigError
from ingest.fetch import BadEncoding, Response
from ingest.sources import read_feed, read_sitemap, read_warc, warc_files

RSS = b'<rss version="2.0"><channel><title>t</title><item><link>http://e.org/b</link></item></channel></rss>'


def listing(body: bytes) -> Response:
    return Response("http://e.org/list.xml", 200, (), body)


def test_a_feed_is_never_read_from_a_file_that_it_names(tmp_path: Path) -> None:
    secret = tmp_path / "feed.xml"
    secret.write_bytes(RSS)
    assert read_feed(listing(RSS)).pages == ["http://e.org/b"]
    with pytest.raises(BadEncoding, match="not an RSS or Atom feed"):
        read_feed(listing(str(secret).encode()))


@pytest.mark.parametrize("markup", [b"<a:b:c>x</a:b:c>", b"<url><loc:x>u</loc:x></url>", b"<!-- c --><?pi x?>"])
def test_a_sitemap_with_tags_that_are_none_gives_what_is_whole(markup: bytes) -> None:
    body = b"<urlset>" + markup + b"<url><loc>http://e.org/a</loc></url></urlset>"
    assert read_sitemap(listing(body), 1000).pages == ["http://e.org/a"]


def test_warc_records_without_a_readable_date_are_read(tmp_path: Path) -> None:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>x</p>"
    records = [
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.org/%d\r\n%b"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n%b\r\n\r\n"
        % (number, date, len(http), http)
        for number, date in enumerate((b"", b"WARC-Date: yesterday\r\n", b"WARC-Date: 2020-01-01T00:00:00Z\r\n"))
    ]
    path = tmp_path / "x.warc"
    path.write_bytes(b"".join(records))
    items = list(read_warc(path, 0, 10_000))
    assert [(item.url, item.fetched_at) for item in items] == [
        ("http://e.org/0", None), ("http://e.org/1", None), ("http://e.org/2", 1577836800.0),
    ]  # fmt: skip


def test_a_glob_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data_sources: '\*\*\*': Invalid pattern"):
        warc_files("***")
