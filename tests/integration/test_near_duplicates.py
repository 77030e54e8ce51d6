"""Near-duplicates from dedup to the readers: one split for a cluster, examples left out, what `why` tells."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import texts
from texts import edited, put, words

from catalog.dedup import DEDUP
from catalog.export import current_examples
from catalog.home import Home
from catalog.settings import Config
from catalog.why import why
from multimodal.fuse_job import FUSE

STORY = " ".join(words(120))


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: {**texts.STAGES, "fuse": FUSE})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config({"root": str(tmp_path), "engine": "local", "stages": ["crawl", "extract", "dedup", "fuse"]})


@pytest.fixture
def home(config: Config) -> Iterator[Home]:
    with Home.open(config.catalog) as opened:
        yield opened


def run(home: Home, config: Config, day: int, pages: dict[str, str]) -> None:
    put(home, config, day, pages)
    for stage in (DEDUP, FUSE):
        stage.run(home, config)


def test_a_near_duplicate_is_skipped_and_comes_back_into_the_split_of_its_cluster(home: Home, config: Config) -> None:
    urls = [f"http://x/{k}" for k in range(3)]
    stories = {url: " ".join(words(120, 130 * k)) for k, url in enumerate(urls)}
    copies = {f"{url}/copy": edited(text, [5, 50]) for url, text in stories.items()}
    run(home, config, 0, stories)
    run(home, config, 1, copies)
    before = {row["url"]: row for row in current_examples(home).to_pylist()}
    assert before.keys() == set(urls)
    run(home, config, 2, {url: " ".join(words(120, 1000 + 130 * k)) for k, url in enumerate(urls)})
    after = {row["url"]: row for row in current_examples(home).to_pylist()}
    assert after.keys() == {*urls, *copies}
    for url in urls:
        places = {(row["cluster_id"], row["split"]) for row in (before[url], after[url], after[f"{url}/copy"])}
        assert len(places) == 1


def test_why_names_the_kept_page_the_method_and_the_score(home: Home, config: Config) -> None:
    run(home, config, 0, {"http://x/a": STORY, "http://x/b": edited(STORY, [5, 50])})
    told = why(home, "http://x/b")
    (event,) = [event for event in told["events"] if event["stage"] == "dedup"]
    assert (told["state"], event["outcome"], event["reason"]) == ("duplicate", "duplicate", "minhash")
    assert "http://x/a" in event["detail"]
    assert "by minhash, score 0.903" in event["detail"]
    assert told["examples"] == []
    (other,) = [event for event in why(home, "http://x/a")["events"] if event["stage"] == "dedup"]
    assert "stands for" in other["detail"]
    assert "http://x/b" in other["detail"]
