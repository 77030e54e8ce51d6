"""A stage that waits for siblings takes an input batch once all have published for it under the configured recipes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from catalog import pipeline
from catalog.home import pending
from catalog.ledger import InputCounts, Row, State
from catalog.settings import Config
from catalog.stage import Stage, StageReport


def stage(name: str, reads: tuple[str, ...], waits_for: tuple[str, ...] = ()) -> Stage:
    def settings(config: Config) -> dict[str, object]:
        return {"model": config.catalog.models.whisper} if name == "transcribe" else {}

    return Stage(name, reads, (), 1, settings, lambda home, config: StageReport(name), waits_for)


STAGES = {
    one.name: one
    for one in (
        stage("crawl", ()),
        stage("extract", ("crawl",)),
        stage("transcribe", ("extract",)),
        stage("annotate", ("extract", "transcribe")),
        stage("fuse", ("extract",), ("transcribe", "annotate")),
    )
}


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", lambda: STAGES)


class Story:
    """A ledger written by hand."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, name: str, config: Config, batch: str, source: str) -> None:
        row = Row(
            seq=len(self.rows) + 1,
            kind="publish",
            stage=name,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            batch_id=batch,
            settings_hash=pipeline.recipe(STAGES[name], config),
            inputs=(InputCounts(source, 1, 1, 0),),
            origins=("c",),
        )
        activate = replace(row, seq=row.seq + 1, kind="activate", batch_id="", inputs=(), origins=())
        self.rows += [row, activate]

    def ready(self, config: Config) -> list[str]:
        return [batch.batch_id for batch in pending(State(self.rows), STAGES["fuse"], config)]


def config(whisper: str) -> Config:
    return Config({"models": {"whisper": whisper}})


def story(whisper: str) -> Story:
    found = Story()
    found.add("crawl", config(whisper), "c", "segment")
    found.add("extract", config(whisper), "e", "c")
    return found


def test_it_waits_for_what_a_sibling_makes_of_another_siblings_batch() -> None:
    told, base = story("base"), config("base")
    assert told.ready(base) == []
    told.add("transcribe", base, "t", "e")
    told.add("annotate", base, "a1", "e")
    assert told.ready(base) == [], "the transcripts are not annotated yet"
    told.add("annotate", base, "a2", "t")
    assert told.ready(base) == ["e"]
    told.add("fuse", base, "f", "e")
    assert told.ready(base) == []


def test_a_siblings_batch_of_an_earlier_recipe_holds_nothing_up() -> None:
    told, base, large = story("base"), config("base"), config("large")
    for name, batch, source in (
        ("transcribe", "t", "e"),
        ("annotate", "a1", "e"),
        ("annotate", "a2", "t"),
        ("fuse", "f", "e"),
    ):
        told.add(name, base, batch, source)
    assert told.ready(large) == []
    for name, batch, source in (("transcribe", "T", "e"), ("annotate", "A1", "e"), ("annotate", "A2", "T")):
        told.add(name, large, batch, source)
    assert told.ready(large) == ["e"]
