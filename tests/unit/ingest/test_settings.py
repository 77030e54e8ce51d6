"""Sources and network settings: what is guessed, what is refused."""

import pytest

from catalog.errors import ConfigError
from ingest.settings import IngestSettings


@pytest.mark.parametrize(
    ("url", "kind", "source_class"),
    [
        ("https://news.example.com", "site", "news"),
        ("https://social.example.com", "site", "social"),
        ("https://blog.example.com/feed.xml", "feed", "blog"),
        ("https://example.com/rss", "feed", "other"),
        ("https://example.com/sitemap_index.xml", "sitemap", "other"),
        ("https://example.com/feeding-cats", "site", "other"),
        ("/data/CC-MAIN-2026.warc.gz", "warc", "other"),
        ("./recordings", "folder", "other"),
        ("s3://commoncrawl/x/CC-MAIN-2026.warc.wet.gz", "warc", "other"),
        ("https://data.commoncrawl.org/crawl-data/CC-MAIN-2026-10/wet.paths.gz", "warc", "other"),
        ("./rows-*.jsonl.zst", "table", "other"),
        ("https://example.com/feed.json", "feed", "other"),
    ],
)
def test_kind_and_class_are_guessed_from_the_address(url: str, kind: str, source_class: str) -> None:
    (source,) = IngestSettings.parse({"data_sources": [url]}, "f.yaml").data_sources
    assert (source.kind, source.source_class) == (kind, source_class)


def test_what_is_given_wins_over_the_guess() -> None:
    given = {"url": "https://news.example.com/feed.xml", "kind": "page", "class": "blog", "depth": 0, "max_pages": 5}
    (source,) = IngestSettings.parse({"data_sources": [given]}, "f.yaml").data_sources
    assert (source.kind, source.source_class, source.depth, source.max_pages) == ("page", "blog", 0, 5)


def test_sizes_and_durations_are_read() -> None:
    given = {"network": {"max_bytes": "50MB", "recrawl_after": "1.5h", "delay": 0, "timeout": "20s"}}
    network = IngestSettings.parse(given, "f.yaml").network
    assert (network.max_bytes, network.recrawl_after, network.delay, network.timeout) == (50_000_000, 5400.0, 0.0, 20.0)
    assert IngestSettings().network.recrawl_after == 45 * 60


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data_sources": [{"url": "x.csv", "columns": {"txt": "a"}}]}, "did you mean 'text'"),
        ({"data_sources": [{"url": "./x", "kind": "site"}]}, "needs an http or https URL, not './x'"),
        ({"data_sources": [{"url": "http://a/", "kind": "folder"}]}, "needs a local path"),
        ({"data_sources": ["http://[nonsense/"]}, "'http://[nonsense/' is not a valid URL"),
        ({"data_sources": ["ftp://a/b"]}, "needs a local path, not 'ftp://a/b'"),
        ({"network": {"delay": "soon"}}, "network.delay: 'soon' is not a duration"),
        ({"network": {"delay": -1}}, "network.delay"),
        ({"network": {"user_agent": "Mozilla/5.0"}}, "network.user_agent"),
        ({"network": {"contact": "a b\r\nX: y"}}, "network.contact"),
        ({"network": {"dealy": 1}}, "did you mean 'delay'"),
    ],
)
def test_nonsense_is_refused_with_the_file_and_the_field(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        IngestSettings.parse(given, "f.yaml")
    assert str(error.value).startswith("f.yaml: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
