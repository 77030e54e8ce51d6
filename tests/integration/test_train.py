"""The train stage over a real home and a real tiny model: rounds, replay, the cursor, and SIGKILL anywhere."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toytrain
from toytrain import batch_of, example, fuse, make_config, train

from catalog import pipeline
from catalog.errors import CommitConflict
from catalog.home import Home
from trainer.registry import Registry

MOMENTS = (
    "step:2", "checkpoint:2", "folder:1", "folder:3", "version:1", "commit:1", "before-ledger:1", "after-ledger:1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", pipeline.stages)  # put back what toytrain.install replaces
    toytrain.install()


def open_home(root: Path, model: Path) -> Home:
    return Home.open(make_config(root, model).catalog)


def versions(root: Path) -> list[dict[str, Any]]:
    return Registry(root / "models").versions()


def kinds(root: Path, version: str) -> dict[str, set[str]]:
    plan = pq.read_table(root / "models" / "versions" / version / "plan.parquet")
    found: dict[str, set[str]] = {}
    for row in plan.to_pylist():
        found.setdefault(row["kind"], set()).add(row["row_id"])
    return found


def ids(examples: list[dict[str, Any]], split: str = "train") -> set[str]:
    return {row["example_id"] for row in examples if row["split"] == split}


def test_two_rounds_the_second_trains_on_what_is_new_with_replay(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    first, second = batch_of("tea", 0, 8), batch_of("stone", 100, 8)
    batches = [fuse(home, "a", first)]
    report = train(tmp_path, tiny_lm)
    assert (report.batches, report.num_in, report.num_processed, report.num_skipped) == (1, 10, 8, 2)
    assert train(tmp_path, tiny_lm).batches == 0
    batches.append(fuse(home, "b", second))
    report = train(tmp_path, tiny_lm)
    assert (report.batches, report.num_in, report.num_processed, report.num_skipped) == (1, 10, 8, 2)

    one, two = versions(tmp_path)
    assert [one["inputs"], two["inputs"]] == [[batches[0]], [batches[1]]]
    assert (one["base"], two["base"]) == (str(tiny_lm), "v1")
    assert kinds(tmp_path, "v1") == {"new": ids(first)}
    assert kinds(tmp_path, "v2")["new"] == ids(second)
    assert 4 <= len(kinds(tmp_path, "v2")["replay"]) <= 8
    assert kinds(tmp_path, "v2")["replay"] <= ids(first)
    assert set(one["metrics"]["before"]) == {"new"}
    assert set(two["metrics"]["before"]) == set(two["metrics"]["after"]) == {"new", "old"}
    for found in (one, two):
        assert found["metrics"]["after"]["new"]["perplexity"] < found["metrics"]["before"]["new"]["perplexity"]
        assert found["gate"]["promoted"]
        assert found["sample"]["prompt"]
    assert one["metrics"]["after"]["new"]["loss"] == pytest.approx(two["metrics"]["before"]["old"]["loss"], rel=1e-4)
    assert not [path for path in (tmp_path / "rounds").iterdir() if path.is_dir()]


def test_batches_that_wait_together_are_one_round(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    inputs = {fuse(home, "a", batch_of("tea", 0, 3)), fuse(home, "b", batch_of("stone", 0, 3))}
    report = train(tmp_path, tiny_lm)
    assert (report.batches, report.num_in, report.num_processed) == (1, 10, 6)
    (version,) = versions(tmp_path)
    assert set(version["inputs"]) == inputs


def test_refreshed_held_out_and_duplicate_rows_are_consumed_untrained(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    kept, copy = example("tea", 1), example("tea", 2)
    rows = [kept, copy, example("tea", 3, change="refreshed"), example("tea", 4, "val"), example("tea", 5, "test")]
    duplicate = {
        "record_id": copy["document_id"], "record_batch": copy["document_batch"], "kept_id": kept["document_id"],
        "kept_batch": kept["document_batch"], "kind": "exact",
    }  # fmt: skip
    fuse(home, "a", rows, [duplicate])
    report = train(tmp_path, tiny_lm)
    assert (report.num_in, report.num_processed, report.num_skipped) == (5, 1, 4)
    assert kinds(tmp_path, "v1") == {"new": {kept["example_id"]}}
    assert versions(tmp_path)[0]["metrics"]["before"]["new"]["documents"] == 2


def test_a_row_that_was_trained_on_is_new_only_once_unless_it_was_revised(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", batch_of("tea", 0, 2))
    train(tmp_path, tiny_lm)
    revised = example("tea", 1, change="revised", text="tea is served again, with milk")
    fuse(home, "b", [example("tea", 0), revised])
    report = train(tmp_path, tiny_lm)
    assert (report.num_in, report.num_processed, report.num_skipped) == (2, 1, 1)
    assert kinds(tmp_path, "v2")["new"] == {revised["example_id"]}


def test_nothing_to_train_on_closes_the_batch_without_a_version(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", [example("tea", 1, change="refreshed"), example("tea", 2, "val")])
    report = train(tmp_path, tiny_lm)
    assert (report.batches, report.num_in, report.num_processed, report.num_skipped) == (1, 2, 0, 2)
    assert "nothing new to train on" in report.notes[0]
    assert versions(tmp_path) == []
    assert train(tmp_path, tiny_lm).batches == 0


def test_without_held_out_text_a_version_is_made_and_not_promoted(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", batch_of("tea", 0, 3, num_held_out=0))
    report = train(tmp_path, tiny_lm)
    assert any("v1 not promoted: no held-out text" in note for note in report.notes)
    (version,) = versions(tmp_path)
    assert version["metrics"] == {"before": {}, "after": {}}
    assert version["weights"]["merged"] is None
    assert version["weights"]["adapter"]
    assert Registry(tmp_path / "models").promoted() is None


@pytest.mark.parametrize("learning_rate", [30.0, 1e9])  # far worse, whatever the order of rows; not a number
def test_a_candidate_that_got_worse_is_kept_but_the_next_round_starts_from_the_promoted_one(
    tiny_lm: Path, tmp_path: Path, learning_rate: float
) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", batch_of("tea", 0, 4))
    train(tmp_path, tiny_lm)
    fuse(home, "b", batch_of("stone", 0, 4))
    train(tmp_path, tiny_lm, training_args={"learning_rate": learning_rate})
    fuse(home, "c", batch_of("stone", 50, 4))
    train(tmp_path, tiny_lm, gate={"old_budget": 1.0})
    found = versions(tmp_path)
    assert [version["gate"]["promoted"] for version in found] == [True, False, True]
    assert [version["base"] for version in found] == [str(tiny_lm), "v1", "v1"]
    json.dumps(found, allow_nan=False)


def test_other_settings_do_not_train_on_consumed_batches_again(tiny_lm: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", batch_of("tea", 0, 3))
    train(tmp_path, tiny_lm)
    assert train(tmp_path, tiny_lm, training_args={"learning_rate": 1e-3}).batches == 0


def test_replay_keeps_what_was_learned(tiny_lm: Path, tmp_path: Path) -> None:
    """Two rounds on unlike subjects: with replay the older held-out text is forgotten less than half as much."""
    args = {"num_train_epochs": 4, "learning_rate": 2e-2}
    rises = []
    for fraction in (0.0, 1.0):
        root = tmp_path / f"replay-{fraction}"
        home = open_home(root, tiny_lm)
        fuse(home, "a", batch_of("tea", 0, 8))
        train(root, tiny_lm, training_args=args)
        fuse(home, "b", batch_of("stone", 0, 8))
        train(root, tiny_lm, training_args=args, replay={"fraction": fraction})
        metrics = versions(root)[1]["metrics"]
        rises.append(metrics["after"]["old"]["loss"] - metrics["before"]["old"]["loss"])
        assert metrics["after"]["new"]["loss"] < metrics["before"]["new"]["loss"] - 0.1
    naive, replayed = rises
    assert naive > 0.1
    assert replayed < naive / 2


def test_rows_that_the_step_cap_never_reached_are_counted_as_skipped_and_replayed(
    tiny_lm: Path, tmp_path: Path
) -> None:
    home = open_home(tmp_path, tiny_lm)
    fuse(home, "a", batch_of("tea", 0, 10))
    report = train(tmp_path, tiny_lm, training_args={"max_steps": 2})
    assert report.num_processed + report.num_skipped == report.num_in == 12
    assert 0 < report.num_processed < 10
    assert any("the round ended before" in note for note in report.notes)
    fuse(home, "b", batch_of("tea", 50, 2))
    train(tmp_path, tiny_lm, replay={"fraction": 9.0})
    assert kinds(tmp_path, "v2")["replay"] == ids(batch_of("tea", 0, 10))


def test_an_open_round_begins_again_when_its_rows_were_taken_down(
    tiny_lm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_home(tmp_path, tiny_lm)
    rows = batch_of("tea", 0, 6)
    fuse(home, "a", rows)
    interrupt_at_step(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_lm)
    monkeypatch.undo()
    toytrain.install()
    gone = rows[0]
    removed = {"record_id": gone["document_id"], "record_batch": gone["document_batch"], "kind": "superseded"}
    fuse(home, "b", [], [removed])
    with caplog.at_level(logging.INFO, "headrace"):
        train(tmp_path, tiny_lm)
    assert "the rows of the open round changed" in caplog.text
    assert kinds(tmp_path, "v1")["new"] == ids(rows) - {gone["example_id"]}


def test_an_open_round_is_finished_before_newer_batches(
    tiny_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_home(tmp_path, tiny_lm)
    first = fuse(home, "a", batch_of("tea", 0, 6))
    interrupt_at_step(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_lm)
    monkeypatch.undo()
    toytrain.install()
    second = fuse(home, "b", batch_of("stone", 0, 2))
    assert train(tmp_path, tiny_lm).batches == 2
    assert [version["inputs"] for version in versions(tmp_path)] == [[first], [second]]


def test_what_is_accepted_and_not_acted_on_is_said_at_train_time(
    tiny_lm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fuse(open_home(tmp_path, tiny_lm), "a", [example("tea", 1, "val")])
    with caplog.at_level(logging.WARNING, "headrace"):
        train(tmp_path, tiny_lm, feedback_system={"threshold": 2.5}, monitoring={"metrics": ["bleu", "perplexity"]})
    assert "feedback_system is accepted and not yet acted on" in caplog.text
    assert "monitoring.metrics: bleu is accepted and not yet acted on" in caplog.text


def test_two_processes_never_train_in_one_home(tiny_lm: Path, tmp_path: Path) -> None:
    from trainer.job import only_one

    open_home(tmp_path, tiny_lm)
    with only_one(tmp_path / "rounds"), pytest.raises(CommitConflict, match="another process is training here"):
        train(tmp_path, tiny_lm)


def test_sigkill_at_any_moment_loses_nothing_and_doubles_nothing(tiny_lm: Path, tmp_path: Path, repo: Path) -> None:
    """Killed, then run again: the same weights as a run that was never killed, one version, one ledger row."""
    template = tmp_path / "whole"
    roots = [tmp_path / f"home-{k}" for k in range(len(MOMENTS))]
    for root in (template, *roots):
        fuse(open_home(root, tiny_lm), "a", batch_of("tea", 0, 8))
    assert train(template, tiny_lm).num_processed == 8
    script = repo / "tests" / "support" / "toytrain.py"
    given = [f"{root}={moment}" for root, moment in zip(roots, MOMENTS, strict=True)]
    environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_lm), *given],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert codes == [[-9, 0]] * len(MOMENTS), done.stderr[-3000:]
    (whole,) = versions(template)
    for root, moment in zip(roots, MOMENTS, strict=True):
        (found,) = versions(root)
        assert found["weights"] == whole["weights"], moment
        assert found["metrics"] == whole["metrics"], moment
        home = open_home(root, tiny_lm)
        rows = [row for row in home.ledger.refresh().published.values() if row.stage == "train"]
        assert [(row.inputs[0].num_in, row.inputs[0].num_processed) for row in rows] == [(10, 8)], moment
        assert train(root, tiny_lm).batches == 0, moment


def interrupt_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Interrupt training when it has done some steps, as Ctrl-C would."""
    from catalog import failpoint

    passed = iter(range(step - 1))

    def reach(name: str) -> None:
        if name == "step" and next(passed, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(failpoint, "reach", reach)
