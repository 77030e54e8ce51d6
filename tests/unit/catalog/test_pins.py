"""Pins: what a table is now, found without opening Iceberg once somebody has; a note that is not right is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from catalog import schema
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.pins import FOLDER, Pins
from catalog.settings import CatalogSettings
from catalog.shards import PartKey, write_part
from catalog.store import Store


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(CatalogSettings(root=tmp_path / "home")) as opened:
        add(opened, "b1")
        yield opened


def add(home: Home, batch: str) -> None:
    rows = pa.Table.from_pylist([{"page_id": batch, "url": f"u/{batch}"}], schema=schema.body("pages"))
    key = PartKey(batch, 0, 1, "x", "page_id")
    home.store.add("pages", batch, [write_part(home.warehouse, key, {"pages": rows}, ("pages",)).shards["pages"]])


def unopened() -> Store:
    raise AssertionError("Iceberg was opened")


def reader(home: Home) -> Pins:
    """Pins of another process, which must do without Iceberg."""
    return Pins(home.root, home.warehouse, {}, unopened)


def test_what_one_process_planned_no_other_plans_again(home: Home) -> None:
    first = home.pins.pin("pages")
    assert first is not None
    assert list(first.urls) == home.store.plan(home.store.load("pages"), None)
    assert first.num_bytes == sum(Path(url.removeprefix("file://")).stat().st_size for url in first.urls)
    assert reader(home).pin("pages") == first
    assert reader(home).pin("examples") is None


def test_a_commit_is_seen_at_once(home: Home) -> None:
    other = Pins(home.root, home.warehouse, {}, lambda: home.store)
    before = [pins.pin("pages") for pins in (home.pins, other)]
    add(home, "b2")
    after = [pins.pin("pages") for pins in (home.pins, other, reader(home))]
    assert [len(pinned.urls) for pinned in before if pinned] == [1, 1]
    assert [len(pinned.urls) for pinned in after if pinned] == [2, 2, 2]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "other"])
def test_a_note_that_is_not_right_is_no_note(home: Home, harm: str) -> None:
    right = home.pins.pin("pages")
    note = home.root / FOLDER / "pages.json"
    data = note.read_bytes()
    at = data.index(b".parquet")
    told = json.loads(data.partition(b"\n")[2])
    harmed = {
        "flip": data[:at] + b"X" + data[at + 1 :],
        "cut": data[: len(data) // 2],
        "empty": b"",
        "other": data.partition(b"\n")[0] + b"\n" + json.dumps(told | {"urls": []}).encode(),
    }
    note.write_bytes(harmed[harm])
    with pytest.raises(AssertionError, match="Iceberg was opened"):
        reader(home).pin("pages")
    assert Pins(home.root, home.warehouse, {}, lambda: home.store).pin("pages") == right
    assert reader(home).pin("pages") == right, "it was not noted again"


def test_damaged_metadata_is_refused_though_its_plan_is_noted(home: Home) -> None:
    pinned = home.pins.pin("pages")
    assert pinned is not None
    assert len(pinned.metadata) >= 3
    for url in pinned.metadata:
        path = Path(url.removeprefix("file://"))
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(Corrupt, match=f"{path.name} is damaged"):
            reader(home).pin("pages")
        path.write_bytes(data)
    assert reader(home).pin("pages") == pinned


def test_metadata_that_is_gone_is_refused_though_its_plan_is_noted(home: Home) -> None:
    pinned = home.pins.pin("pages")
    assert pinned is not None
    Path(pinned.location.removeprefix("file://")).unlink()
    with pytest.raises(Corrupt, match=r"table pages: .* is missing; run headrace doctor"):
        Pins(home.root, home.warehouse, {}, lambda: home.store).pin("pages")


def test_where_nothing_can_be_noted_reading_goes_on(home: Home) -> None:
    (home.root / FOLDER).write_text("a file in its place")
    pinned = Pins(home.root, home.warehouse, {}, lambda: home.store).pin("pages")
    assert pinned is not None
    assert len(pinned.urls) == 1


def test_a_run_leaves_its_plans_to_the_next_reader(home: Home) -> None:
    add(home, "b2")
    home.settle()
    pinned = reader(home).pin("pages")
    assert pinned is not None
    assert home.index.held("pages") == set(pinned.urls)
