"""Fusing with limits, with another model and after a takedown, on a real home: real crawl, CLIP, dedup and ledger."""

import shutil
from pathlib import Path
from typing import Any

from toytokenizer import make_tokenizer

from catalog import purge
from catalog import run as running
from catalog.export import current_examples
from catalog.home import Home
from catalog.schema import TABLES
from catalog.settings import Config
from catalog.shards import open_dataset
from catalog.why import why

EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = [
    "Frogs live near clean water and they can breathe through their skin.",
    "In spring they sing from every pond, and on a still night they are heard a long way off.",
    "The eggs float in clouds of jelly until the tadpoles have grown their tails.",
    "Herons and snakes eat most of them long before they have legs to hop away with.",
]


class Site:
    """A folder of pages with pictures, and the home that it goes to."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "pages"
        self.folder.mkdir()
        (root / "lm").mkdir()
        make_tokenizer().save(str(root / "lm" / "tokenizer.json"))
        self.given: dict[str, Any] = {
            "root": str(root / "home"), "engine": "local", "data_sources": [str(self.folder)],
            "models": {"clip": "tiny_clip", "text": "no/such", "lm": str(root / "lm")},
            "network": {"recrawl_after": "0s"},
            "stages": ["crawl", "extract", "embed", "dedup", "fuse"], "fuse": {"max_tokens": 40},
        }  # fmt: skip

    def add(self, name: str, *pictures: str) -> None:
        shown = "".join(f"<p>{text}</p>" for text in SENTENCES[:2])
        shown += "".join(f"<img src='{picture}' alt='{Path(picture).stem}'>" for picture in pictures)
        shown += "".join(f"<p>{text} {name}</p>" for text in SENTENCES[2:])
        (self.folder / f"{name}.html").write_text(f"<!doctype html><title>{name}</title><article>{shown}</article>")
        for picture in pictures:
            shutil.copy(EXAMPLES / "site" / "img" / picture, self.folder / picture)

    def url(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def run(self, **more: Any) -> dict[str, Any]:
        ran = running.run(Config(self.given | more))
        return {stage["stage"]: stage for stage in ran["stages"]}

    def home(self) -> Home:
        return Home.open(Config(self.given).catalog)

    def parts(self, name: str) -> list[dict[str, Any]]:
        rows = [row for row in current_examples(self.home()).to_pylist() if row["url"] == self.url(name)]
        return sorted(rows, key=lambda row: row["part"])


def test_parts_of_a_document_are_made_found_taken_down_and_made_again_together(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("frogs", "frog.png", "panda.png")
    fuse = site.run()["fuse"]
    assert (fuse["num_in"], fuse["num_processed"]) == (1, 1)
    parts = site.parts("frogs.html")
    assert fuse["outputs"] == {"examples": len(parts)}
    assert [row["part"] for row in parts] == [*range(1, len(parts) + 1)]
    assert len(parts) > 2
    assert all(row["num_tokens"] <= 40 for row in parts)
    assert len({row["split"] for row in parts}) == 1
    said = " ".join(segment["text"] for row in parts for segment in row["segments"] if segment["kind"] == "text")
    assert " ".join(said.split()) == " ".join(f"{text} frogs" if k > 1 else text for k, text in enumerate(SENTENCES))
    told = [event["detail"] for event in why(site.home(), site.url("frogs.html"))["events"] if event["stage"] == "fuse"]
    assert any(f"part 2 of {len(parts)}" in detail for detail in told)

    order = purge.Order("url", site.url("panda.png"), "asked to", "steward")
    with site.home() as home:
        assert purge.preview(home, order.kind, order.value)["examples"] == len(parts)
        purge.purge(home, Config(site.given), order)
    assert site.parts("frogs.html") == []
    site.add("newts", "cat.png")
    site.run()
    again = site.parts("frogs.html")
    shown = [segment["text"] for row in again for segment in row["segments"] if segment["kind"] == "image"]
    assert [text.split(";")[0] for text in shown] == ["frog"]
    assert [row["num_parts"] for row in again] == [len(again)] * len(again)
    assert {row["example_id"] for row in again}.isdisjoint(row["example_id"] for row in parts)
    assert not site.run().get("fuse", {}).get("batches")


def test_another_clip_model_writes_beside_the_old_and_segments_say_which(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("frogs", "frog.png")
    site.run()
    (before,) = {place["model"] for row in site.parts("frogs.html") for place in row["placements"] if place["model"]}
    other = tmp_path / "other_clip"
    shutil.copytree(EXAMPLES / "tiny_clip", other, ignore=shutil.ignore_patterns("*.py", "held_out*"))
    site.add("newts", "frog.png", "cat.png")  # the same picture on a new page, which only the new model sees
    models = site.given["models"] | {"clip": str(other)}
    ran = site.run(models=models)
    assert ran["embed"]["outputs"]["image_features"] == 2
    placements = [
        place for name in ("frogs.html", "newts.html") for row in site.parts(name) for place in row["placements"]
    ]
    assert {place["model"] for place in placements} == {None, str(other)}
    assert str(other) != before
    urls = site.home().view().urls("image_features")  # the old rows are still there, for a rollback
    old = open_dataset(urls, TABLES["image_features"]).to_table(columns=["model"])
    assert set(old["model"].to_pylist()) == {before, str(other)}
