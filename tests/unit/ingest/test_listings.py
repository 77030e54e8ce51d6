"""Sitemaps and feeds, whole and as hostile or careless people write them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from ingest.feeds import read_feed
from ingest.fetch import BadEncoding, Response, TooLarge
from ingest.hints import Hints, Medium
from ingest.listings import Entry, Listing
from ingest.sitemaps import read_sitemap

RSS = b'<rss version="2.0"><channel><title>t</title><item><link>http://e.org/b</link></item></channel></rss>'


def listing(body: bytes) -> Response:
    return Response("http://e.org/list.xml", 200, (), body)


def test_a_feed_is_never_read_from_a_file_that_it_names(tmp_path: Path) -> None:
    secret = tmp_path / "feed.xml"
    secret.write_bytes(RSS)
    assert read_feed(listing(RSS)).pages == ["http://e.org/b"]
    with pytest.raises(BadEncoding, match="not an RSS, Atom or JSON feed"):
        read_feed(listing(str(secret).encode()))


@pytest.mark.parametrize("markup", [b"<a:b:c>x</a:b:c>", b"<url><loc:x>u</loc:x></url>", b"<!-- c --><?pi x?>"])
def test_a_sitemap_with_tags_that_are_none_gives_what_is_whole(markup: bytes) -> None:
    body = b"<urlset>" + markup + b"<url><loc>http://e.org/a</loc></url></urlset>"
    assert read_sitemap(listing(body), 1000).pages == ["http://e.org/a"]


EXTENDED = b"""<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:n="http://www.google.com/schemas/sitemap-news/0.9"
 xmlns:i="http://www.google.com/schemas/sitemap-image/1.1" xmlns:v="http://www.google.com/schemas/sitemap-video/1.1">
<url><loc>/story</loc><lastmod>2026-01-02T03:04:05+00:00</lastmod>
 <n:news><n:publication><n:name>P</n:name><n:language>en</n:language></n:publication>
 <n:publication_date>2026-01-01T10:00:00Z</n:publication_date><n:title>A  story</n:title></n:news>
 <i:image><i:loc>http://cdn.e.org/a.jpg</i:loc><i:caption>A dog</i:caption></i:image>
 <i:image><i:loc>/b</i:loc></i:image>
 <v:video><v:thumbnail_loc>/t.jpg</v:thumbnail_loc><v:title>Film</v:title><v:content_loc>/f.mp4</v:content_loc></v:video>
</url><url><loc>javascript:x</loc></url></urlset>"""


def test_a_sitemap_says_what_belongs_to_each_page_and_when_it_changed() -> None:
    (entry,) = read_sitemap(listing(EXTENDED), 10_000).entries
    media = (
        Medium("http://cdn.e.org/a.jpg", "image", "A dog"), Medium("http://e.org/b", "image"),
        Medium("http://e.org/t.jpg", "image", "Film"),
    )  # fmt: skip
    hints = Hints(title="A  story", date="2026-01-01", language="en", media=media)
    assert entry == Entry("http://e.org/story", hints, 1767323045.0)


def test_an_index_names_sitemaps_and_when_they_changed() -> None:
    body = b"<sitemapindex><sitemap><loc>/1.xml</loc><lastmod>2026-01-01</lastmod></sitemap></sitemapindex>"
    found = read_sitemap(listing(body), 1000)
    assert (found.lists, found.entries) == ([Entry("http://e.org/1.xml", changed=1767225600.0)], [])
    assert found.changes() == {"http://e.org/1.xml": 1767225600.0}


def test_a_packed_sitemap_may_have_many_members_but_not_more_than_its_limit() -> None:
    body = gzip.compress(b"<urlset><url><loc>http://e.org/a</loc>") + gzip.compress(b"</url></urlset>")
    assert read_sitemap(listing(body), 1000).pages == ["http://e.org/a"]
    with pytest.raises(TooLarge):
        read_sitemap(listing(gzip.compress(b"<urlset>" + os.urandom(2000) + b"</urlset>")), 1000)


def test_a_feed_in_the_place_of_a_sitemap_is_read_and_a_page_is_not() -> None:
    assert read_sitemap(listing(RSS), 1000).pages == ["http://e.org/b"]
    with pytest.raises(BadEncoding):
        read_sitemap(listing(b"<!doctype html><p>no sitemap"), 1000)


def test_a_sitemap_may_be_a_list_of_lines() -> None:
    assert read_sitemap(listing("\ufeffhttp://e.org/a\n\n/b\n".encode()), 99).pages == [
        "http://e.org/a",
        "http://e.org/b",
    ]


PODCAST = b"""<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"
 xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>t</title>
<item><title>One</title><link>/one</link><pubDate>Thu, 01 Jan 2026 10:00:00 GMT</pubDate>
 <enclosure url="http://e.org/1.mp3" type="audio/mpeg" length="1"/><itunes:image href="/cover.png"/></item>
<item><guid>abc-2</guid><title>Two</title><media:group><media:content url="http://e.org/v.mp4" medium="video"/>
 <media:content url="http://e.org/2" medium="audio"/></media:group></item>
<item><guid>abc-3</guid><title>Nothing</title></item></channel></rss>"""


def test_a_podcast_gives_pages_with_their_recordings_and_recordings_without_a_page() -> None:
    one, two = read_feed(listing(PODCAST)).entries
    recordings = (Medium("http://e.org/1.mp3", "audio"), Medium("http://e.org/cover.png", "image"))
    assert (one.hints.title, one.hints.date, one.hints.media) == ("One", "2026-01-01", recordings)
    assert (one.url, one.changed) == ("http://e.org/one", 1767261600.0)
    assert two.url == "", "a guid is no address"
    film, sound = Medium("http://e.org/v.mp4", "video"), Medium("http://e.org/2", "audio")
    assert two.hints.media == (film, sound)
    assert Listing([two]).hints() == {"http://e.org/v.mp4": Hints("Two"), "http://e.org/2": Hints("Two")}


def test_a_json_feed_is_read_by_its_version() -> None:
    item = {
        "id": "1", "url": "/p", "title": "T", "date_published": "2026-01-01T01:02:03Z", "authors": [{"name": "Ann"}],
        "image": "/i.png", "attachments": [{"url": "/a.mp3", "mime_type": "audio/mpeg", "title": "Spoken"}],
    }  # fmt: skip
    feed = {"version": "https://jsonfeed.org/version/1.1", "language": "de-AT", "items": [item, {"id": "2"}, "x"]}
    (entry,) = read_feed(listing(json.dumps(feed).encode())).entries
    media = (Medium("http://e.org/a.mp3", "audio", "Spoken"), Medium("http://e.org/i.png", "image"))
    assert (entry.url, entry.hints) == ("http://e.org/p", Hints("T", "Ann", "2026-01-01", "de", media))


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"version": "2", "items": []}', b'{"version": 1, "items": 2}'])
def test_what_is_no_json_feed_is_named_so(body: bytes) -> None:
    with pytest.raises(BadEncoding, match="not a JSON feed"):
        read_feed(listing(body))
