"""The annotate and fuse stages on a real home: real ledger, tables, dedup and key index; cheap stages around them."""

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from annotate.annotator import SUBJECTS
from annotate.job import ANNOTATE, load_annotator, make_worker, run_annotate
from catalog import pipeline, schema
from catalog.dedup import DEDUP
from catalog.home import Home, Input, Plan
from catalog.ids import document_id, make_id, text_sha256
from catalog.models import resolve
from catalog.settings import Config, Resources
from catalog.sql import query
from catalog.stage import Stage, StageReport
from multimodal.fuse import INPUTS, FuseWorker
from multimodal.fuse_job import FUSE, run_fuse
from multimodal.settings import MultimodalSettings

DAY = datetime(2026, 1, 1, tzinfo=UTC)
RESOURCES = Resources(cpus=1.0)
FILES: dict[str, dict[str, Any]] = {}  # page_id → what the cheap extract makes of it


def page(url: str, text: str = "", media: tuple[tuple[str, str], ...] = (), day: int = 0, language: str = "en") -> str:
    """Declare a page with pictures or recordings (kind, url) after its text; or, by its suffix, a media file."""
    name = make_id(url, text, str(day))
    references = [{"url": u, "kind": kind, "alt": f"alt of {u}", "caption": None, "block": 0} for kind, u in media]
    kind = {"png": "image", "ogg": "audio"}.get(url.rpartition(".")[2], "document")
    FILES[name] = {"url": url, "text": text, "media": references, "kind": kind, "day": day, "language": language}
    return name


def refused(url: str, day: int) -> str:
    """Declare that the owner of a media file has opted out by then."""
    name = page(url, day=day)
    FILES[name]["kind"] = "refused"
    return name


class Extract:
    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        documents, media, rejected = [], [], []
        for name in part["page_id"].to_pylist():
            file = FILES[name]
            facts = {"page_id": name, "url": file["url"], "fetched_at": DAY + timedelta(days=file["day"])}
            if file["kind"] == "refused":
                rejected.append({"record_id": name, "url": file["url"], "reason": "noai", "detail": "x"})
                continue
            if file["kind"] != "document":
                media.append({**facts, "media_id": make_id("bytes", file["url"]), "kind": file["kind"]})
                continue
            text, digest = file["text"], text_sha256(file["text"])
            blocks = [{"kind": "paragraph", "level": 0, "order": 0, "start": 0, "end": len(text)}]
            documents.append(
                {
                    **facts,
                    "document_id": document_id(file["url"], digest),
                    "text": text,
                    "text_sha256": digest,
                    "blocks": blocks,
                    "media": file["media"],
                    "language": file["language"],
                    "licence": "CC0",
                }
            )
        return {
            "documents": pa.Table.from_pylist(documents, schema=schema.body("documents")),
            "media": pa.Table.from_pylist(media, schema=schema.body("media")),
            "rejects": schema.rejects("extract", rejected),
        }


class Embed:
    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        features, broken = [], []
        for row in part.to_pylist():
            if "broken" in row["url"]:
                broken.append(
                    {"record_id": row["media_id"], "url": row["url"], "reason": "decode_error", "detail": "x"}
                )
            else:
                features.append({"media_id": row["media_id"], "tags": [{"label": "frog", "score": 0.9}], "model": "m"})
        return {
            "image_features": pa.Table.from_pylist(features, schema=schema.body("image_features")),
            "rejects": schema.rejects("embed", broken),
        }


class Transcribe:
    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        rows = [
            {"media_id": row["media_id"], "text": "Maria Lopez works for Siemens.", "language": "en", "model": "w"}
            for row in part.to_pylist()
        ]
        return {"transcripts": pa.Table.from_pylist(rows, schema=schema.body("transcripts"))}


def cheap(name: str, reads: str, tables: tuple[str, ...], source: tuple[str, str, str], worker: type) -> Stage:
    """A stage over the rows of `source` (table, row id, kind of media or nothing)."""
    table, row_id, kind = source

    def run(home: Home, config: Config) -> StageReport:
        plans = []
        for batch in home.todo(STAGES[name], config):
            rows = home.view().read(table, batches=[batch.batch_id])
            rows = rows.filter(pa.compute.equal(rows["kind"], kind)) if kind else rows
            plans.append(Plan((Input(batch, rows.num_rows),), rows, row_id))
        return home.publish(STAGES[name], config, plans, worker, RESOURCES)

    return Stage(name, (reads,), tables, 1, no_settings, run)


def no_settings(_: Config) -> dict[str, object]:
    return {}


STAGES = {
    stage.name: stage
    for stage in (
        Stage("crawl", (), ("pages",), 1, no_settings, lambda home, config: StageReport("crawl")),
        cheap("extract", "crawl", ("documents", "media"), ("pages", "page_id", ""), Extract),
        cheap("embed", "extract", ("image_features",), ("media", "media_id", "image"), Embed),
        cheap("transcribe", "extract", ("transcripts",), ("media", "media_id", "audio"), Transcribe),
        ANNOTATE,
        DEDUP,
        FUSE,
    )
}


class Chain:
    """A home, and the stages that fill it."""

    def __init__(self, root: Path, **given: Any) -> None:
        self.given = {"root": str(root), "engine": "local", "models": "offline", "stages": list(STAGES), **given}
        self.config = Config(self.given)
        self.home = Home.open(self.config.catalog)

    def crawl(self, *pages: str) -> None:
        rows = pa.Table.from_pylist(
            [
                {"page_id": name, "url": FILES[name]["url"], "fetched_at": DAY + timedelta(days=FILES[name]["day"])}
                for name in pages
            ],
            schema=schema.body("pages"),
        )
        self.home.publish_origin(STAGES["crawl"], make_id(*pages), len(pages), {"pages": rows}, {})

    def run(self, *names: str) -> dict[str, StageReport]:
        wanted = names or tuple(STAGES)
        return {name: stage.run(self.home, self.config) for name, stage in STAGES.items() if name in wanted}

    def examples(self, url: str | None = None) -> list[dict[str, Any]]:
        rows = self.home.view().read("examples").to_pylist()
        return [row for row in rows if url in (None, row["url"])]


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    if resolve("spacy", "en_core_web_sm").path is None:
        pytest.skip("needs the extra offline-models")
    monkeypatch.setattr(pipeline, "stages", lambda: STAGES)
    return Chain(tmp_path / "home")


def test_a_page_with_picture_and_recording_becomes_one_annotated_fused_example(chain: Chain) -> None:
    media = (("image", "http://t/frog.png"), ("audio", "http://t/talk.ogg"), ("image", "http://t/broken.png"))
    chain.crawl(
        page("http://t/a", "John Smith, president of Microsoft, lives in Paris, France.", media),
        page("http://t/copy", "John Smith, president of Microsoft, lives in Paris, France.", day=1),
        page("http://t/fr", "La Sorbonne est à Paris.", language="fr"),
        page("http://t/frog.png"),
        page("http://t/talk.ogg"),
        page("http://t/broken.png"),
    )
    reports = chain.run()
    notes = {row["subject_kind"]: row for row in chain.home.view().read("annotations").to_pylist()}
    assert {"document", "transcript"} == set(notes)
    assert [r["label"] for r in notes["transcript"]["relations"]] == ["WORKS_FOR"]
    assert {r["label"] for r in notes["document"]["relations"]} == {"WORKS_FOR", "LOCATED_IN"}
    assert (reports["annotate"].num_in, reports["annotate"].num_processed, reports["annotate"].rejects) == (
        4,
        3,
        {"no_model": 1},
    )

    (example,) = chain.examples("http://t/a")
    assert [segment["kind"] for segment in example["segments"]] == ["text", "image", "audio"]
    assert example["text"].split("\n\n")[1:] == [
        "[image: alt of http://t/frog.png; frog]",
        "[audio: Maria Lopez works for Siemens.]",
        "[image: alt of http://t/broken.png]",
    ]
    assert (example["change"], example["licence"]) == ("new", "CC0")
    assert chain.examples("http://t/copy") == []
    fuse = reports["fuse"]
    assert (fuse.num_in, fuse.num_processed, fuse.num_skipped) == (3, 2, 1)
    assert {report.batches for report in chain.run().values()} == {0}


def test_a_picture_that_comes_later_refreshes_the_pages_that_show_it(chain: Chain) -> None:
    shown = (("image", "http://t/late.png"),)
    chain.crawl(
        page("http://t/a", "First page.", shown),
        page("http://t/b", "Second page.", shown),
        page("http://t/c", "Third."),
    )
    chain.run()
    before = {row["url"]: row for row in chain.examples()}
    chain.crawl(page("http://t/late.png"))
    assert chain.run()["fuse"].outputs == {"examples": 2}
    for url in ("http://t/a", "http://t/b"):
        old, new = sorted(chain.examples(url), key=lambda row: row["change"])
        assert (old["change"], new["change"]) == ("new", "refreshed")
        assert (new["split"], new["cluster_id"]) == (before[url]["split"], before[url]["cluster_id"])
        assert [segment["kind"] for segment in new["segments"]] == ["text", "image"]
        assert (old["example_id"], old["document_id"]) == (before[url]["example_id"], new["document_id"])
        assert new["example_id"] != old["example_id"]
    assert len(chain.examples("http://t/c")) == 1
    assert chain.run()["fuse"].batches == 0


def test_a_picture_taken_before_its_owner_opted_out_leaves_the_example_until_it_is_allowed_again(
    chain: Chain, tmp_path: Path
) -> None:
    names = [name for name in STAGES if name != "annotate"]
    chain = Chain(tmp_path / "unannotated", stages=names)
    picture = "http://t/hers.png"
    shown = (("image", picture), ("image", "http://t/other.png"))
    chain.crawl(page("http://t/a", "First page.", shown), page(picture), page("http://t/other.png"))
    counts = []
    for crawled in ((), (refused(picture, 1), page("http://t/b", "Second.", shown, day=2)), (page(picture, day=3),)):
        for name in crawled:
            chain.crawl(name)
        chain.run(*names)
        rows = query(chain.home, "SELECT url, segments FROM current_examples ORDER BY url")["rows"]
        counts.append([sum(part["kind"] == "image" for part in row["segments"]) for row in rows])
    assert counts == [[2], [1, 1], [2, 2]]
    assert chain.run(*names)["fuse"].batches == 0


def test_a_revised_page_keeps_its_split_and_a_returned_copy_takes_its_clusters(chain: Chain) -> None:
    chain.crawl(page("http://t/a", "The text."), page("http://t/copy", "The text.", day=1))
    chain.run()
    (first,) = chain.examples()
    chain.crawl(page("http://t/a", "Another text.", day=2))
    chain.run()
    (revised,) = (row for row in chain.examples("http://t/a") if row["change"] == "revised")
    (returned,) = chain.examples("http://t/copy")
    assert revised["document_id"] != first["document_id"]
    assert returned["change"] == "new"
    for row in (revised, returned):
        assert (row["cluster_id"], row["split"]) == (first["cluster_id"], first["split"])
    assert chain.run()["fuse"].batches == 0


def test_fusing_waits_for_every_sibling(chain: Chain) -> None:
    chain.crawl(page("http://t/a", "Text."), page("http://t/talk.ogg"))
    chain.run("extract", "embed", "transcribe", "dedup")
    assert run_fuse(chain.home, chain.config).batches == 0
    run_annotate(chain.home, chain.config)
    assert run_fuse(chain.home, chain.config).outputs == {"examples": 1}


def test_another_template_writes_new_batches_beside_the_old(chain: Chain, tmp_path: Path) -> None:
    chain.crawl(page("http://t/a", "Text.", (("image", "http://t/x.png"),)))
    chain.crawl(page("http://t/x.png"))
    chain.run()
    other = Chain(tmp_path / "home", fuse={"template": {"image": "<{tags}>"}})
    reports = other.run()
    assert {name: report.batches for name, report in reports.items() if report.batches} == {"fuse": 2}
    (example,) = other.examples()
    assert (example["text"], example["change"]) == ("Text.\n\n<frog>", "refreshed")


def test_the_annotator_that_preprocessing_uses_takes_documents_rows(chain: Chain) -> None:
    rows = [{"document_id": "d", "url": "u", "language": "en", "text": "Munich is in Germany."}]
    documents = pa.Table.from_pylist(rows, schema=schema.body("documents"))
    result = load_annotator(chain.config)(documents)
    (row,) = result["annotations"].to_pylist()
    assert (row["subject_id"], [r["label"] for r in row["relations"]]) == ("d", ["LOCATED_IN"])
    assert result["rejects"].num_rows == 0


def test_installing_a_model_changes_the_recipe(chain: Chain) -> None:
    missing = Config({**chain.given, "annotation_schema": {"models": {"zh": "zh_core_web_sm"}}})
    models: Any = ANNOTATE.settings(missing)["models"]
    assert (models["en"]["available"], models["zh"]["available"]) == (True, False)
    assert pipeline.recipe(ANNOTATE, missing) != pipeline.recipe(ANNOTATE, chain.config)


def test_workers_travel_to_other_processes(chain: Chain) -> None:
    rows = [{"subject_id": "d", "subject_kind": "document", "url": "u", "language": "fr", "text": "Bonjour"}]
    work = pickle.loads(pickle.dumps(make_worker(chain.config)))()
    result = work(pa.Table.from_pylist(rows, schema=SUBJECTS))
    assert result["rejects"]["reason"].to_pylist() == ["no_model"]
    settings = chain.config.section(MultimodalSettings).fuse
    fuse = pickle.loads(pickle.dumps(partial(FuseWorker, settings)))()
    assert fuse(INPUTS.empty_table())["examples"].schema == schema.body("examples")
