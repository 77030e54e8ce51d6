"""The shares that a round would have are those that it has, and they are shown before it."""

from collections import Counter
from pathlib import Path

import pytest
import toytrain
from toytrain import example, fuse, make_config

from catalog import pipeline
from catalog.errors import ConfigError, InputError
from catalog.home import Home
from catalog.settings import Config
from trainer.selection import gather, select
from trainer.settings import BalanceArgs, TrainerSettings
from trainer.shares import preview


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(pipeline, "stages", pipeline.stages)  # put back what toytrain.install replaces
    toytrain.install()
    balance = {"by": "source_class", "shares": {"news": 0.5, "blog": 0.5}}
    return make_config(tmp_path, "unused", balance=balance, replay={"fraction": 0.5})


def put(home: Home, key: str, first: int, news: int, blog: int) -> str:
    classes = ["news"] * news + ["blog"] * blog
    return fuse(home, key, [example("tea", first + k) | {"source_class": name} for k, name in enumerate(classes)])


def test_the_rounds_plan_has_the_shares_that_the_preview_shows(config: Config) -> None:
    home = Home.open(config.catalog)
    before = put(home, "a", 0, 40, 40)
    batch = put(home, "b", 100, 90, 30)
    settings = config.section(TrainerSettings)
    shown = preview(home, config, settings.balance)
    assert (shown["pending_batches"], shown["examples"], shown["planned"]) == (2, 200, 260)
    assert [(row["value"], row["examples"], row["target"], row["planned"]) for row in shown["rows"]] == [
        ("blog", 70, 0.5, 130),
        ("news", 130, 0.5, 130),
    ]
    view = home.view()
    later = [item for item in view.live("fuse") if item.batch_id == batch]
    selection = select(view, later, [before], settings)
    material = gather(view, selection, "round", settings)
    counts = Counter((row["kind"], selection.values[row["row_id"]]) for row in material.plan.to_pylist())
    assert counts == {
        (kind, name): number for kind, number in (("new", 180), ("replay", 80)) for name in ("news", "blog")
    }


def test_what_cannot_be_balanced_is_named(config: Config) -> None:
    home = Home.open(config.catalog)
    put(home, "a", 0, 3, 1)
    with pytest.raises(InputError, match=r"balance.by is not set"):
        preview(home, config, BalanceArgs())
    with pytest.raises(ConfigError, match="1 at most together"):
        BalanceArgs.parse({"by": "source", "shares": {"a": 0.6, "b": 0.6}}, "conf.yaml")
    with pytest.raises(ConfigError, match="say by which column"):
        BalanceArgs.parse({"temperature": 2}, "conf.yaml")
    equal = preview(home, config, BalanceArgs(by="source_class", temperature=1e9))
    assert [row["planned_share"] for row in equal["rows"]] == [0.5, 0.5]
