"""The pipeline: the order of stages, and recipes that change exactly when results may."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from catalog import pipeline
from catalog.errors import ConfigError
from catalog.settings import Config
from catalog.stage import Stage, StageReport


def stage(name: str, reads: tuple[str, ...] = (), waits_for: tuple[str, ...] = (), **result: object) -> Stage:
    settings: Mapping[str, object] = result
    return Stage(name, reads, (), 1, lambda _: settings, lambda *_: StageReport(name), waits_for)


CHAIN = [
    stage("crawl"),
    stage("extract", ("crawl",), colour="red"),
    stage("embed", ("extract",), size=3),
    stage("annotate", ("extract",)),
    stage("fuse", ("extract",), ("embed", "annotate")),
]


def recipes(monkeypatch: pytest.MonkeyPatch, chain: list[Stage], **given: object) -> dict[str, str]:
    monkeypatch.setattr(pipeline, "stages", lambda: {one.name: one for one in chain})
    config = Config(given)
    return {one.name: pipeline.recipe(one, config) for one in pipeline.enabled(config)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after.get(name)}


def test_recipes_are_the_same_for_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes(monkeypatch, CHAIN)
    assert recipes(monkeypatch, CHAIN) == before
    assert before["crawl"] == "origin"
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize(
    ("index", "other", "expected"),
    [
        (1, stage("extract", ("crawl",), colour="blue"), {"extract", "embed", "annotate", "fuse"}),
        (2, stage("embed", ("extract",), size=4), {"embed", "fuse"}),
        (2, replace(CHAIN[2], result_version=2), {"embed", "fuse"}),
        (4, replace(CHAIN[4], result_version=2), {"fuse"}),
        (0, replace(CHAIN[0], result_version=2), set()),
    ],
)
def test_a_change_reaches_the_stages_after_it_and_no_other(
    monkeypatch: pytest.MonkeyPatch, index: int, other: Stage, expected: set[str]
) -> None:
    before = recipes(monkeypatch, CHAIN)
    after = recipes(monkeypatch, [*CHAIN[:index], other, *CHAIN[index + 1 :]])
    assert changed(before, after) == expected


def test_leaving_a_sibling_out_changes_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes(monkeypatch, CHAIN)
    after = recipes(monkeypatch, CHAIN, stages=["crawl", "extract", "embed", "fuse"])
    assert changed(before, after) == {"annotate", "fuse"}


def test_resources_engine_and_root_change_no_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes(monkeypatch, CHAIN)
    assert recipes(monkeypatch, CHAIN, engine="ray", root="/x", resources={"embed": {"workers": 4}}) == before


def test_a_stage_left_out_is_named_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", lambda: {one.name: one for one in CHAIN})
    config = Config({"stages": ["crawl", "extract"]}, where="c.yaml")
    assert pipeline.stage_named("extract", config) is CHAIN[1]
    with pytest.raises(ConfigError, match=r"^c\.yaml: stage 'embed' is not among 'stages'; add it there$"):
        pipeline.stage_named("embed", config)


def test_installed_stages_come_after_what_they_read_or_wait_for() -> None:
    order = list(pipeline.stages())
    assert set(order) == {"crawl", "extract", "embed", "transcribe", "annotate", "dedup", "fuse", "train"}
    for name, one in pipeline.stages().items():
        assert all(order.index(other) < order.index(name) for other in (*one.reads, *one.waits_for))
