"""The demo, as a newcomer runs it: every stage with its real model, on both engines."""

import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from catalog import demo, doctor, export, models, run, search, status, why
from catalog.errors import InputError
from catalog.home import Home
from catalog.search import Query
from catalog.settings import Config

pytestmark = pytest.mark.slow


def rejected(ran) -> dict[tuple[str, str], str]:  # type: ignore[no-untyped-def]
    return {(row["stage"], row["reason"]): row["url"] for row in ran.result["rejects"]}


def test_every_stage_publishes_what_it_is_for(local) -> None:
    counts = {name: entry["rows"] for name, entry in local.result["status"]["tables"].items()}
    for table in ("pages", "documents", "media", "image_features", "thumbnails", "text_features", "transcripts",
                  "annotations", "duplicates", "examples"):  # fmt: skip
        assert counts[table] > 0, table
    assert local.result["status"]["pending"] == dict.fromkeys(local.result["status"]["pending"], 0)


def test_what_was_turned_away_has_a_reason(local) -> None:
    turned = rejected(local)
    assert turned["crawl", "robots_denied"].endswith("/private/next-issue.html")
    assert turned["crawl", "not_found"].endswith("/old/orchard-map.html")
    assert turned["embed", "decode_error"].endswith("/img/crater-rim.jpg")


def test_words_find_the_right_picture(local) -> None:
    assert local.result["search"]["hits"][0]["url"].endswith("red-apple.png")
    # The demo model takes 熊猫 for a cat by 0.004 (its card says so): only the two first pictures are asked for.
    for query, name, first in (
        ("a frog", "frog", 1),
        ("a volcano", "volcano", 1),
        ("大熊猫", "panda", 1),
        ("熊猫", "panda", 2),
    ):
        hits = search.by_text(local.home, local.config, query, Query("image", 3))["hits"]
        assert any(name in hit["url"] for hit in hits[:first]), (query, hits)


def test_words_find_the_right_document(local) -> None:
    hits = search.by_text(local.home, local.config, "how coffee beans are roasted and brewed", Query("text", 3))["hits"]
    assert "coffee" in hits[0]["url"]


def test_words_find_the_moment_of_a_recording(local) -> None:
    found = search.by_text(local.home, local.config, "volcano", Query("audio", 3))
    assert "volcano" in found["hits"][0]["text"].lower() and found["hits"][0]["text"].startswith("[0:")


def test_a_condition_narrows_what_is_found(local) -> None:
    for mode in ("hybrid", "vectors", "words"):
        found = search.by_text(local.home, local.config, "竹子", Query("text", 5, "language = 'zh'", mode))  # type: ignore[arg-type]
        ids = {hit["id"] for hit in found["hits"]}
        assert ids and ids <= set(local.home.view().lookup("documents", "document_id", ids).filter(
            pa.compute.field("language") == "zh")["document_id"].to_pylist())  # fmt: skip
    with pytest.raises(InputError, match="--where"):
        search.by_text(local.home, local.config, "x", Query("text", 5, "no_such_column = 1"))


def test_a_picture_finds_itself(local) -> None:
    file = models.examples_dir() / "site" / "img" / "frog.png"
    hit = search.by_image(local.home, local.config, file, Query("image", 1))["hits"][0]
    assert hit["url"].endswith("frog.png")
    assert hit["score"] == pytest.approx(1.0, abs=1e-3)


def test_speech_becomes_text_with_times(local) -> None:
    rows = {row["media_id"]: row for row in local.home.view().read("transcripts").to_pylist()}
    texts = " ".join(row["text"].lower() for row in rows.values())
    for word in ("frogs", "skin", "oxygen", "volcano"):
        assert word in texts
    for row in rows.values():
        for segment in row["segments"]:
            assert 0 <= segment["start"] <= segment["end"] <= row["duration"] + 0.5


def test_entities_and_relations_stand_where_they_say(local) -> None:
    view = local.home.view()
    texts = {row["document_id"]: row["text"] for row in view.read("documents", ["document_id", "text"]).to_pylist()}
    labels, relations = set(), set()
    for row in view.read("annotations").to_pylist():
        text = texts.get(row["subject_id"])
        for entity in row["entities"]:
            labels.add(entity["label"])
            if text is not None:
                assert text[entity["start"] : entity["end"]] == entity["text"]
        relations |= {relation["label"] for relation in row["relations"]}
    assert labels == {"PERSON", "ORGANIZATION", "LOCATION"}
    assert relations == {"WORKS_FOR", "LOCATED_IN"}


def test_an_example_holds_text_pictures_and_speech_in_order(local) -> None:
    kinds = [{kind for kind, _ in example["segments"]} for example in local.result["examples"]]
    assert {"text", "image", "audio"} in kinds


def test_the_model_learned(local) -> None:
    model = local.result["model"]
    before = model["metrics"]["before"]["new"]["perplexity"]
    after = model["metrics"]["after"]["new"]["perplexity"]
    assert math.isfinite(before)
    assert after < before
    assert model["gate"]["promoted"]
    assert model["sample"]["before"] != model["sample"]["after"]


def test_the_summary_says_it_all(local) -> None:
    console = Console(record=True, width=160, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        demo.render(local.result, console)
    text = console.export_text()
    for words in ("robots_denied", "decode_error", "red-apple", "perplexity", "status --root"):
        assert words in text
    json.dumps(local.result, default=str)


def test_why_tells_the_story_of_each_kind_of_url(local) -> None:
    stories = {
        "frogs.html": "kept",
        "private/next-issue.html": "rejected",
        "print/coffee.html": "duplicate",
        "reprints/story-of-the-bicycle.html": "duplicate",
        "never/heard-of.html": "unknown",
    }
    for path, state in stories.items():
        story = why.why(local.home, local.site + path)
        assert story["state"] == state, (path, story)
    kept = why.why(local.home, local.site + "frogs.html")
    assert {event["stage"] for event in kept["events"]} >= {"crawl", "extract", "embed", "annotate", "fuse"}
    assert kept["examples"]
    assert any(why.why(local.home, local.site + page)["models"] for page in ("frogs.html", "apples.html", "cats.html"))


def test_the_doctor_finds_nothing(local) -> None:
    result = doctor.doctor(local.home, local.config)
    assert result["ok"], [check for check in result["checks"] if not check["ok"]]


def test_both_engines_give_the_same_rows(local, on_ray) -> None:
    here, there = local.tables, on_ray.tables
    assert {table: len(rows) for table, rows in here.items()} == {table: len(rows) for table, rows in there.items()}
    for table in here:
        assert here[table] == there[table], table


def test_running_again_publishes_nothing_and_a_new_page_is_done_alone(local, site: Path, repo: Path) -> None:
    seq = local.home.view().seq
    again = demo.run(local.config.catalog.root, "local")
    assert again["site"] == local.site
    assert all(report["batches"] == 0 for report in again["stages"])
    assert local.home.view().seq == seq

    shutil.copytree(repo / "examples" / "site_update", site, dirs_exist_ok=True)
    (site / "README.md").unlink(missing_ok=True)
    (site / "index.html").touch()  # git gives all files of a checkout one age
    examples = local.home.view().read("examples").num_rows
    shorter = Config(local.config.given | {"training_args": {**demo.TRAINING, "max_steps": 4}})
    with demo.serve(site) as url:
        assert url == local.site
        reports = {report["stage"]: report for report in run.run(shorter)["stages"]}
    fetched = local.home.view().state.rows[seq:]
    crawl = [row for row in fetched if row.stage == "crawl"]
    pages = local.home.view().read("pages", ["url"], [row.batch_id for row in crawl])["url"].to_pylist()
    assert {page.removeprefix(url) for page in pages} == {"", "penguins.html", "img/penguin.png"}
    assert reports["train"]["batches"] == 1
    assert local.home.view().read("examples").num_rows > examples
    penguin = why.why(local.home, url + "penguins.html")
    assert penguin["state"] == "kept"
    current = export.current_examples(local.home).to_pylist()
    assert len({row["url"] for row in current}) == len(current), "an old version of a page is still current"
    assert status.status(local.home, local.config)["pending"]["train"] == 0


def test_a_home_can_be_opened_by_root_alone(local) -> None:
    config = run.last_config(local.config.catalog.root)
    assert config.given["data_sources"] == local.config.given["data_sources"]
    assert config.catalog.root == local.config.catalog.root
    assert Home.open(config.catalog).view().seq >= 1
