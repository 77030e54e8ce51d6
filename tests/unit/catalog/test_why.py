"""Every ending that a URL can have is told, from the frontier to the model."""

import io
import json
import shutil
import time
from pathlib import Path

import pytest
import storybook
from rich.console import Console
from storybook import PICTURE_ID, SITE, Story

from catalog import evidence, why
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.settings import CatalogSettings


def outcomes(story: dict) -> list[tuple[str, str, str | None]]:
    return [(event["stage"], event["outcome"], event["reason"]) for event in story["events"]]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("a", "kept"), ("b", "duplicate"), ("v", "kept"), ("empty", "rejected"), ("private", "rejected"),
        ("late", "pending"), ("queued", "pending"), ("deep", "rejected"), ("moved", "kept"), ("same", "kept"),
        ("p.png", "kept"), ("nowhere", "unknown"), ("", "pending"),
    ],
)  # fmt: skip
def test_state_of_every_kind_of_url(story: Story, name: str, state: str) -> None:
    assert why.why(story.home, SITE + name)["state"] == state


def test_a_kept_page_is_followed_to_the_model(story: Story) -> None:
    told = why.why(story.home, SITE + "a")
    assert outcomes(told) == [
        ("crawl", "fetched", None),
        ("extract", "extracted", None),
        ("embed", "embedded", None),
        ("annotate", "annotated", None),
        ("dedup", "kept", "exact"),
        ("fuse", "fused", None),
        ("train", "consumed", None),
    ]
    fetched = told["events"][0]
    assert fetched["batch_id"] == story.batches["crawl1"]
    assert fetched["time"] == "2026-03-01T12:00:00+00:00"
    assert "allowed by robots rule 'Allow: /'" in fetched["detail"]
    assert [item["example_id"] for item in told["examples"]] == [story.examples["a"]["example_id"]]
    assert [(model["version"], model["promoted"], model["times"]) for model in told["models"]] == [("v2", True, 1)]
    assert "v2" in told["events"][-1]["detail"]


def test_a_rejected_page_says_where_and_why(story: Story) -> None:
    told = why.why(story.home, SITE + "empty")
    assert outcomes(told) == [("crawl", "fetched", None), ("extract", "rejected", "empty_text")]
    assert told["events"][1]["detail"] == "no text left after cleaning"
    denied = why.why(story.home, SITE + "private")["events"]
    assert [(event["reason"], event["detail"]) for event in denied] == [("robots_denied", "Disallow: /private")]


def test_a_duplicate_names_what_stands_for_it(story: Story) -> None:
    told = why.why(story.home, SITE + "b")
    decision = told["events"][-1]
    assert (decision["outcome"], decision["reason"]) == ("duplicate", "exact")
    assert story.documents["a"]["document_id"] in decision["detail"]
    assert SITE + "a" in decision["detail"]
    assert told["examples"] == [] == told["models"]


def test_an_older_version_is_superseded_and_what_learned_from_it_is_listed(story: Story) -> None:
    told = why.why(story.home, SITE + "v")
    current = {item["example_id"]: item["current"] for item in told["examples"]}
    assert current == {story.examples["old"]["example_id"]: False, story.examples["new"]["example_id"]: True}
    assert ("dedup", "superseded", "superseded") in outcomes(told)
    assert [(model["version"], model["times"]) for model in told["models"]] == [("v1", 1), ("v2", 2)]
    old = why.why(story.home, story.documents["old"]["document_id"])
    assert old["state"] == "duplicate"


def test_a_picture_is_found_in_its_example_by_url_and_by_hash(story: Story) -> None:
    for subject in (SITE + "p.png", PICTURE_ID):
        told = why.why(story.home, subject)
        assert [item["example_id"] for item in told["examples"]] == [story.examples["a"]["example_id"]], subject
        assert any("3x2" in (event["detail"] or "") for event in told["events"]), subject


def test_every_id_leads_to_the_same_page(story: Story) -> None:
    document = story.documents["a"]
    by_url = why.why(story.home, SITE + "a")
    for subject in (document["page_id"], document["document_id"], story.examples["a"]["example_id"]):
        told = why.why(story.home, subject)
        assert (told["state"], told["examples"]) == ("kept", by_url["examples"]), subject
        assert [event for event in by_url["events"] if event not in told["events"]] == [], subject


def test_a_url_may_be_spelt_carelessly(story: Story) -> None:
    told = why.why(story.home, " HTTPS://story.EXAMPLE:443/x/../a#part ")
    assert (told["subject"], told["state"]) == (SITE + "a", "kept")


def test_the_frontier_tells_what_the_tables_do_not(story: Story) -> None:
    def event(name: str) -> dict:
        return why.why(story.home, SITE + name)["events"][-1]

    assert event("queued")["detail"] == f"queued, linked from {SITE}"
    assert (event("deep")["outcome"], event("deep")["reason"]) == ("held", "too_deep")
    assert event("same")["outcome"] == "visited"
    assert event("moved")["detail"] == f"{SITE}moved to {SITE}a"


def test_a_batch_tells_what_it_took_and_wrote_and_who_consumed_it(story: Story) -> None:
    told = why.why(story.home, story.batches["extract1"])
    assert told["state"] == "kept"
    assert told["events"][0]["detail"] == (
        "5 in, 4 processed, 1 rejected, wrote 3 documents, 1 media, rejects: empty_text 1"
    )
    consumers = [event["stage"] for event in told["events"] if event["outcome"] == "consumed"]
    assert sorted(consumers) == ["annotate", "dedup", "embed", "fuse", "fuse"]
    assert [model["version"] for model in why.why(story.home, story.batches["train2"])["models"]] == ["v2"]


def test_every_story_is_json_and_renders(story: Story) -> None:
    for subject in (SITE + "a", SITE + "b", SITE + "nowhere", story.batches["crawl1"], "[bold]not markup[/]"):
        told = why.why(story.home, subject)
        json.dumps(told)
        sink = io.StringIO()
        why.render(told, Console(file=sink, width=200))
        assert told["subject"] in sink.getvalue()
        assert told["state"] in sink.getvalue()


def test_a_replaced_and_a_revoked_batch_are_not_kept(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        crawl = storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("a", "A")]}), num_in=1)
        kept = storybook.Made({"documents": [storybook.document("a", "A", "words")]})
        first = storybook.put(home, "extract", kept, [crawl], 1, recipe="one")
        _activate(home, "extract", "two")
        second = storybook.put(home, "extract", kept, [crawl], 1, recipe="two")
        replaced = why.why(home, first)
        assert (replaced["state"], replaced["events"][-1]["outcome"]) == ("rejected", "replaced")
        assert why.why(home, second)["state"] == "kept"
        _revoke(home, "extract", second)
        revoked = why.why(home, second)
        assert (revoked["state"], revoked["events"][-1]["outcome"]) == ("rejected", "revoked")
        assert why.why(home, first)["state"] == "kept", "the batch before it is live again"
        assert [event["batch_id"] for event in why.why(home, SITE + "a")["events"]] == [crawl, first]


def _activate(home: Home, stage: str, recipe: str) -> None:
    row = storybook.Row(0, "activate", stage, storybook.TIME + storybook.timedelta(hours=2), settings_hash=recipe)
    home.ledger.append(lambda state: [row])


def _revoke(home: Home, stage: str, batch: str) -> None:
    row = storybook.Row(0, "revoke", stage, storybook.TIME + storybook.timedelta(hours=3), targets=(batch,))
    home.ledger.append(lambda state: [row])


def test_a_damaged_frontier_is_one_clear_line(story: Story, tmp_path: Path) -> None:
    root = tmp_path / "home"
    with Home.open(CatalogSettings(root=root)) as home:
        (root / "frontier.db").write_bytes(b"not a database, but long enough to be taken for one" * 50)
        with pytest.raises(Corrupt, match=r"frontier\.db: cannot be read"):
            why.why(home, SITE + "a")


@pytest.mark.parametrize(("name", "words"), [("manifest.json", "is no manifest"), ("plan.parquet", "a plan cannot be")])
def test_a_damaged_model_version_is_one_clear_line(story: Story, tmp_path: Path, name: str, words: str) -> None:
    root = tmp_path / "home"
    shutil.copytree(story.home.root / "models", root / "models")
    (root / "models" / "versions" / "v1" / name).write_bytes(b"{")
    with pytest.raises(Corrupt, match=words):
        evidence.versions(root, [story.examples["a"]["example_id"]], {})


def test_model_versions_are_found_where_the_configuration_keeps_them(story: Story, tmp_path: Path) -> None:
    elsewhere = tmp_path / "versions of ours"
    shutil.copytree(story.home.root / "models", elsewhere)
    root = tmp_path / "home"
    root.mkdir()
    given = {"monitoring": {"versioning": {"repository": str(elsewhere)}}}
    (root / "config.json").write_text(json.dumps(given))
    ids = [row["example_id"] for row in story.examples.values()]
    found = evidence.versions(root, ids, {})
    assert found == evidence.versions(story.home.root, ids, {})
    assert found != []


def test_a_home_without_crawler_and_models_is_no_obstacle(story: Story, tmp_path: Path) -> None:
    copied = tmp_path / "home"
    with Home.open(CatalogSettings(root=copied)) as home:
        assert why.why(home, "anything") == {
            "subject": "anything", "state": "unknown", "events": [], "examples": [], "models": [],
        }  # fmt: skip
    shutil.rmtree(copied)


def test_a_lookup_is_quick_once_the_index_stands(story: Story) -> None:
    why.why(story.home, SITE + "a")
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        why.why(story.home, SITE + "a")
        spent.append(time.perf_counter() - started)
    assert min(spent) < 1.0, "0.2 s on a quiet machine"
