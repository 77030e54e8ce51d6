"""What pages declare of themselves."""

from trafilatura import load_html

from ingest.metadata import Metadata, read_metadata

URL = "https://e.org/2019/a.html"


def read(head: str, body: str = "<p>x</p>", attributes: str = "") -> Metadata:
    return read_metadata(
        load_html(f"<!doctype html><html {attributes}><head>{head}</head><body>{body}</body></html>"), URL
    )


def test_json_ld_wins_over_meta() -> None:
    found = read(
        """<title>A title | The Site</title><meta property="og:title" content="Og title">
        <script type="application/ld+json">{"@graph": [{"@type": ["NewsArticle"], "headline": "The headline",
        "author": [{"name": "Ann"}, {"name": "Bo"}], "datePublished": "2019-11-20T10:00:00Z",
        "license": "https://creativecommons.org/licenses/by/4.0/"}]}</script>"""
    )
    assert (found.title, found.author, found.date) == ("The headline", "Ann; Bo", "2019-11-20")
    assert found.licence == "https://creativecommons.org/licenses/by/4.0/"


def test_meta_and_links() -> None:
    found = read(
        """<meta property="og:title" content="Og  title"><meta name="author" content="Ann"><meta property="og:image"
        content="/lead.jpg"><meta property="article:published_time" content="2019-11-21T00:00:00Z">
        <link rel="license" href="/licence">""",
        attributes='lang="zh-CN"',
    )
    assert (found.title, found.author, found.date, found.language) == ("Og title", "Ann", "2019-11-21", "zh")
    assert found.media == [("image", "https://e.org/lead.jpg")]
    assert found.licence == "https://e.org/licence"


def test_a_title_loses_the_name_of_its_site() -> None:
    assert read("<title>How to count - The Site</title>").title == "How to count"
    assert read("<title>A - B - C</title>", "<h1>A - B</h1>").title == "A - B"
    assert read("", "<h1>Only a <b>heading</b></h1>").title == "Only a heading"


def test_broken_declarations_are_silence() -> None:
    found = read(
        """<script type="application/ld+json">{"@type": "NewsArticle", broken</script>
        <script type="application/ld+json">{"@type": "NewsArticle", "headline": 7, "author": null}</script>
        <meta name="author" content="https://e.org/ann"><meta property="og:image" content="data:image/png;base64,x">""",
        attributes='lang="!!"',
    )
    assert found == Metadata()


def test_lone_surrogates_of_json_and_yaml_are_replaced() -> None:
    found = read(r"""<script type="application/ld+json">{"@type": "Article", "headline": "x\ud800"}</script>""")
    assert found.title == "x?"
