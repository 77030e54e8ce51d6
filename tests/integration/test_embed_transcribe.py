"""The embed and transcribe stages in a real home: a folder crawled, real small models, a real ledger."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from filmstrip import film

from catalog import pipeline, search, snapshots
from catalog.home import Home, Plan, View
from catalog.models import resolve
from catalog.settings import Config
from catalog.stage import StageReport
from ingest.job import CRAWL, EXTRACT
from multimodal.job import EMBED, EMBED_DEFAULT, TRANSCRIBE, embed_settings
from multimodal.plans import Planner
from multimodal.settings import MultimodalSettings
from multimodal.workers import Embedder, EmbedModels

SITE = Path(__file__).parents[2] / "examples" / "site"
PAGE = "<!doctype html><html><head><title>{0}</title></head><body><p>{1}</p><img src='{2}'></body></html>"
TEXT = "Frogs live near clean water, and they can breathe through their skin as well as through their lungs."


class Chain:
    """One home and a folder of pages that grows."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "material"
        self.folder.mkdir()
        self._given = {
            "root": str(root / "home"), "engine": "local", "models": "offline", "data_sources": [str(self.folder)],
            "stages": ["crawl", "extract", "embed", "transcribe"],
        }  # fmt: skip

    def add(self, name: str, picture: str, text: str = TEXT) -> None:
        (self.folder / f"{name}.html").write_text(PAGE.format(name, text, picture))
        if not (self.folder / picture).exists():
            shutil.copy(SITE / "img" / picture, self.folder / picture)

    def config(self, **more: Any) -> Config:
        return Config(self._given | more)

    def run(self, **more: Any) -> dict[str, StageReport]:
        config = self.config(**more)
        home = Home.open(config.catalog)
        return {stage.name: stage.run(home, config) for stage in (CRAWL, EXTRACT, EMBED, TRANSCRIBE)}

    def view(self) -> View:
        return Home.open(self.config().catalog).view()


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def rows(view: View, table: str) -> list[dict[str, Any]]:
    return view.read(table).drop_columns(["batch_id"]).to_pylist()


def closed(report: StageReport) -> bool:
    return report.num_in == report.num_processed + report.num_rejected + report.num_reused + report.num_skipped


def test_pictures_texts_and_recordings_become_rows_exactly_once(chain: Chain) -> None:
    chain.add("frogs", "frog.png")
    shutil.copy(SITE / "audio" / "frogs.ogg", chain.folder)
    (chain.folder / "broken.png").write_bytes((SITE / "img" / "panda.png").read_bytes()[:300])
    (chain.folder / "broken.ogg").write_bytes(b"OggS" + bytes(range(200)) * 5)
    reports = chain.run()
    embed, transcribe = reports["embed"], reports["transcribe"]
    assert (embed.outputs, embed.rejects) == (
        {"image_features": 1, "thumbnails": 1, "text_features": 1},
        {"decode_error": 1},
    )
    assert (transcribe.outputs, transcribe.rejects) == ({"transcripts": 1}, {"decode_error": 1})
    assert closed(embed)
    assert closed(transcribe)
    view = chain.view()
    (picture,), (document,), (transcript,) = (
        rows(view, table) for table in ("image_features", "text_features", "transcripts")
    )
    assert picture["tags"][0]["label"] == "frog"
    assert np.linalg.norm(picture["vector"]) == pytest.approx(1, abs=1e-5)
    assert len(document["vector"]) == 384
    assert "frogs" in transcript["text"].lower()
    assert {row["stage"]: row["detail"] for row in rows(view, "rejects")}.keys() >= {"embed", "transcribe"}
    again = chain.run()
    assert (again["embed"].batches, again["transcribe"].batches) == (0, 0)


def test_a_picture_seen_before_is_reused_until_the_settings_change(chain: Chain) -> None:
    chain.add("first", "frog.png")
    chain.run()
    shutil.copy(SITE / "img" / "frog.png", chain.folder / "same-frog.png")
    chain.add("second", "panda.png", TEXT + " Pandas do not.")
    report = chain.run()["embed"]
    assert (report.num_reused, report.outputs["image_features"]) == (1, 1)
    assert closed(report)
    changed = chain.run(embed={"labels": ["frog", "panda"], "num_tags": 1})["embed"]
    assert (changed.batches, changed.outputs["image_features"]) == (2, 2)
    assert {row["tags"][0]["label"] for row in rows(chain.view(), "image_features")} == {"frog", "panda"}
    assert chain.run()["embed"].batches == 0  # the first settings' rows are still there


def test_a_picture_whose_features_a_rollback_took_back_is_not_left_without_any(chain: Chain) -> None:
    """One driver counts a picture as reused; before it commits, a rollback takes back the batch that embedded it."""
    config = chain.config()
    home = Home.open(config.catalog)
    for name, picture, text in (("first", "frog.png", TEXT), ("second", "panda.png", TEXT + " Pandas do not.")):
        chain.add(name, picture, text)
        CRAWL.run(home, config)
        EXTRACT.run(home, config)
        shutil.copy(SITE / "img" / "frog.png", chain.folder / "same-frog.png")
    one, two = home.todo(EMBED, config)
    seq = home.view().seq
    embedded = publish_embed(home, config, Planner(home.view(), EMBED, config).embed(one))
    assert embedded.outputs["image_features"] == 1
    late = Planner(home.view(), EMBED, config).embed(two)
    assert late.inputs[0].num_reused == 1
    snapshots.rollback(home, str(seq), False)
    assert publish_embed(home, config, late).batches == 0
    report = EMBED.run(home, config)
    assert (report.num_reused, report.outputs["image_features"]) == (0, 2), "frog and panda"
    wanted = set(home.view().read("media", batches=[two.batch_id])["media_id"].to_pylist())
    assert wanted == {row["media_id"] for row in rows(home.view(), "image_features")}


def test_films_patches_and_another_model(chain: Chain, tmp_path: Path) -> None:
    """Key frames trace to their film; the features of another CLIP model stand beside, and search takes the newest."""
    chain.add("frogs", "frog.png")
    (chain.folder / "film.webm").write_bytes(film("webm", "libvpx", 3))
    models = {"clip": "tiny_clip", "text": "all-MiniLM-L6-v2"}
    first = chain.config(embed={"patches": True, "film_frames": 2, "labels": ["frog", "cat"]}, models=models)
    home = Home.open(first.catalog)
    reports = [stage.run(home, first) for stage in (CRAWL, EXTRACT, EMBED)]
    assert reports[-1].outputs == {"image_features": 3, "image_patches": 3, "thumbnails": 2, "text_features": 1}
    assert closed(reports[-1])
    view = chain.view()
    films = view.read("media").filter(pc.equal(view.read("media")["kind"], "video"))["media_id"].to_pylist()
    for table in ("image_features", "image_patches"):
        frames = [
            (row["media_id"], round(row["frame_time"])) for row in rows(view, table) if row["frame_time"] is not None
        ]
        assert frames == [(films[0], 0), (films[0], 1)]
    assert {tuple(row["shape"]) for row in rows(view, "image_patches")} == {(4, 768)}

    shutil.copytree(SITE.parent / "tiny_clip", tmp_path / "other", ignore=shutil.ignore_patterns("*.py", "*.md"))
    second = chain.config(embed={"film_frames": 2}, models=models | {"clip": str(tmp_path / "other")})
    assert EMBED.run(home, second).outputs["image_features"] == 3
    view = chain.view()
    assert {row["model"] for row in rows(view, "image_features")} == {str(tmp_path / "other")}
    assert len({row.batch_id for row in view.state.rows if row.stage == "embed" and row.kind == "publish"}) == 2
    found = search.by_text(home, second, "a frog", search.Query("image", 3))
    assert found["index"]["model"] == str(tmp_path / "other")
    assert found["hits"][0]["url"].endswith("frog.png")
    assert [hit["id"] for hit in found["hits"]].count(films[0]) == 1, "a film is found once, by its best frame"


def publish_embed(home: Home, config: Config, plan: Plan) -> StageReport:
    """Work on one plan as the stage does."""
    models = EmbedModels(resolve("clip", config.catalog.models.clip), resolve("text", config.catalog.models.text))
    settings = config.section(MultimodalSettings).embed
    worker = partial(Embedder, settings, models, home.warehouse, EMBED_DEFAULT)
    return home.publish(EMBED, config, [plan], worker, EMBED_DEFAULT)


def test_without_weights_every_row_is_a_no_model_reject_and_installing_them_redoes_it(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    chain.add("frogs", "frog.png")
    shutil.copy(SITE / "audio" / "frogs.ogg", chain.folder)
    absent = {"clip": "ViT-B-32/laion2b_s34b_b79k", "text": "absent/model", "whisper": "base"}
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    reports = chain.run(models=absent)
    assert reports["embed"].rejects == {"no_model": 2}
    assert reports["transcribe"].rejects == {"no_model": 1}
    rejects = [row for row in rows(chain.view(), "rejects") if row["reason"] == "no_model"]
    assert all("set models." in row["detail"] for row in rejects)
    assert embed_settings(chain.config(models=absent))["clip"] == {
        "name": "ViT-B-32/laion2b_s34b_b79k", "revision": "hub", "available": False,
    }  # fmt: skip
    with_weights = chain.run(models="offline")
    assert with_weights["embed"].outputs["image_features"] == 1
    assert not [row for row in rows(chain.view(), "rejects") if row["reason"] == "no_model"]


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network in this test")


def test_rows_do_not_depend_on_resources(chain: Chain, tmp_path: Path) -> None:
    for name in ("frog.png", "panda.png", "rocket.png", "volcano.png"):
        chain.add(name, name, f"{TEXT} {name}")
    shutil.copy(SITE / "audio" / "frogs.ogg", chain.folder)
    shutil.copy(SITE / "audio" / "kew.ogg", chain.folder)

    def made(cpus: float) -> dict[str, list[dict[str, Any]]]:
        resources = {stage: {"cpus": cpus} for stage in ("embed", "transcribe")}
        chain.run(root=str(tmp_path / f"home{cpus}"), resources=resources)
        view = Home.open(chain.config(root=str(tmp_path / f"home{cpus}")).catalog).view()
        tables = ("image_features", "thumbnails", "text_features", "transcripts")
        return {table: sorted(rows(view, table), key=str) for table in tables}

    one, three = made(1), made(3)
    assert one == three
    assert len(one["transcripts"]) == 2


def test_recipes_name_models_by_revision_and_not_by_resources(chain: Chain) -> None:
    plain = pipeline.recipe(EMBED, chain.config())
    assert plain == pipeline.recipe(EMBED, chain.config(resources={"embed": {"cpus": 1}}))
    assert plain != pipeline.recipe(EMBED, chain.config(embed={"num_tags": 1}))
    settings = TRANSCRIBE.settings(chain.config())
    assert settings["backend"] in ("whisper", "faster-whisper")
    assert settings["whisper"] == {"name": "tiny.en", "revision": "1a5afae06a4db91c", "available": True}


def test_importing_the_stages_loads_no_model_library() -> None:
    heavy = ("torch", "av", "whisper", "open_clip", "ray")
    code = f"import sys, multimodal.job; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
