"""What a search shows, whatever stands in the texts that it found."""

import io

from rich.console import Console

from catalog import search


def test_texts_and_urls_may_hold_brackets() -> None:
    hit = {"id": "x", "kind": "text", "score": 0.5, "url": "http://[::1]/", "text": "[b] is bold, [/b] ends it"}
    out = io.StringIO()
    search.render({"hits": [hit, {**hit, "url": None}]}, Console(file=out, width=120))
    assert "[b] is bold, [/b] ends it" in out.getvalue()
    assert "http://[::1]/" in out.getvalue()


def test_nothing_found_says_what_to_do() -> None:
    out = io.StringIO()
    search.render({"hits": []}, Console(file=out, width=120))
    assert "run the embed stage first" in out.getvalue()
