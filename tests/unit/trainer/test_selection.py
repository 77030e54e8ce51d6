"""What a round measures itself with: never a row that was trained on, and always a row's newest text."""

from pathlib import Path

import pytest
import toytrain
from toytrain import example, fuse, make_config

from catalog import pipeline
from catalog.home import Home
from trainer.selection import gather, select
from trainer.settings import TrainerSettings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(pipeline, "stages", pipeline.stages)  # put back what toytrain.install replaces
    toytrain.install()
    return Home.open(make_config(tmp_path, "unused").catalog)


def test_an_example_that_was_or_will_be_trained_on_is_never_held_out(home: Home) -> None:
    before = fuse(home, "a", [example("tea", 1), example("tea", 2, "val"), example("tea", 3, "val")])
    fuse(home, "b", [example("tea", 1, "val"), example("tea", 3), example("tea", 4), example("tea", 5, "val")])
    view = home.view()
    newest = [batch for batch in view.live("fuse") if batch.batch_id != before]
    selection = select(view, newest, [before], TrainerSettings())
    measured = selection.held_out_new | selection.held_out_old
    assert measured == {example("tea", number)["example_id"] for number in (2, 5)}
    assert measured.isdisjoint({*selection.new, *selection.older})


@pytest.mark.parametrize("keys", [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")])  # batch ids in either order
def test_an_older_row_is_read_as_it_was_last_fused(home: Home, keys: tuple[str, str]) -> None:
    consumed = [
        fuse(home, keys[0], [example("tea", 1, "val", text="as it was"), example("tea", 2, text="so it was")]),
        fuse(home, keys[1], [
            example("tea", 1, "val", "revised", text="as it is"), example("tea", 2, change="revised", text="so it is"),
        ]),
    ]  # fmt: skip
    fuse(home, "new", [example("stone", number) for number in range(9)])
    view = home.view()
    batches = [batch for batch in view.live("fuse") if batch.batch_id not in consumed]
    selection = select(view, batches, consumed, TrainerSettings())
    material = gather(view, selection, "round", TrainerSettings())
    assert [item.text for item in material.old] == ["as it is"]
    assert material.texts[example("tea", 2)["example_id"]] == "so it is"
