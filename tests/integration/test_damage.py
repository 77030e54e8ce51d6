"""Damage: one flipped bit in any file that holds data is found and named, and what can be rebuilt is rebuilt."""

import hashlib
import os
import random
import re
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import storybook

from catalog import cli, doctor, maintain, near
from catalog.errors import Corrupt
from catalog.fulltext import FullText
from catalog.home import Home
from catalog.proving import toychain
from catalog.proving.agreement import check_agreement, live_rows
from catalog.proving.toychain import STAGES
from catalog.schema import KEYS
from catalog.settings import Config, DedupSettings, MaintenanceSettings
from catalog.vectors import VectorIndex

ALL = bool(os.environ.get("HEADRACE_TEST_ALL_FILES"))
SEED = 20260102
UNIQUE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}|\d+")
DERIVED = ("indexes/keys.db", "indexes/fulltext.db")  # may hold bytes that mean nothing: free space in pages
CHECKED = ("warehouse/", "indexes/")


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave packages and weights alone: they have tests of their own and take seconds."""
    monkeypatch.setattr("catalog.doctor._installation", lambda config: [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with every kind of file: shards, part records, large files, metadata, indexes, a sealed segment."""
    root = tmp_path_factory.mktemp("damage") / "home"
    with storybook.tell(root).home as home:
        maintain.maintain(home, MaintenanceSettings(min_files=3))
        view = home.view()
        for table in KEYS:
            home.index.refresh(table, view.urls(table))
        VectorIndex(root / "indexes", "text_features", "tiny", "r1").refresh(view)
        with closing(FullText(root / "indexes")) as words:
            words.refresh(view)
        bands = near.open_index(root, DedupSettings())
        bands.refresh(view, [batch.batch_id for batch in view.live("extract")])
    story = root / "warehouse" / storybook.WARC
    sealed = story.with_name(f"{hashlib.sha256(story.read_bytes()).hexdigest()}.warc.gz")
    shutil.copy(story, sealed)
    return root


def kinds(root: Path) -> dict[str, list[Path]]:
    """The files that hold data, by kind: their place with all that is unique taken out."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size):
        place = str(path.relative_to(root))
        if place.startswith(CHECKED) and place not in (f"warehouse/{storybook.WARC}",):
            table = re.sub(r"(tables|data)/\w+", r"\1/T", place)
            found[UNIQUE.sub("*", table)].append(path)
    return found


def flips(root: Path) -> list[tuple[Path, int]]:
    rng = random.Random(SEED)
    chosen = []
    for paths in kinds(root).values():
        for path in paths if ALL else rng.sample(paths, 1):
            chosen += [(path, rng.randrange(8 * path.stat().st_size)) for _ in range(3 if ALL else 1)]
    return chosen


def wrong(root: Path, repair: bool = False) -> str:
    """What doctor says is wrong, one line each; empty if everything is in order."""
    result = doctor.examine(Config({"root": str(root), "models": "offline"}), repair)
    lines = [
        f"{item['check']}: {item['detail']} {' '.join(item['problems'])}" for item in result["checks"] if not item["ok"]
    ]
    assert bool(lines) != result["ok"]
    return "\n".join(lines)


def content(path: Path) -> object:
    """What a database says; None if it cannot be read."""
    try:
        with closing(sqlite3.connect(path)) as db:
            return list(db.iterdump())
    except sqlite3.DatabaseError:
        return None


def test_one_flipped_bit_is_found_and_named(whole: Path) -> None:
    assert wrong(whole) == ""
    chosen = flips(whole)
    assert len(kinds(whole)) >= 15
    for path, bit in chosen:
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        place = str(path.relative_to(whole))
        before = content(path) if place in DERIVED else None
        path.write_bytes(damaged)
        said = wrong(whole)
        if place in DERIVED:
            assert said or content(path) == before, f"bit {bit} of {place} was not found"
        else:
            assert path.name.removesuffix(".sha256") in said or path.parent.name in said, (
                f"bit {bit} of {place}: {said}"
            )
        path.write_bytes(data)
    assert wrong(whole) == "", "putting the bits back did not mend it"


def cut_metadata(root: Path) -> None:
    for path in (root / "warehouse/tables/documents/metadata").glob("*.json"):
        path.write_bytes(path.read_bytes()[:-20])


def empty_lists(root: Path) -> None:
    for path in (root / "warehouse/tables/examples/metadata").glob("snap*.avro"):
        path.write_bytes(b"")


def lose_ledger_metadata(root: Path) -> None:
    for path in (root / "warehouse/tables/batches/metadata").glob("*.json"):
        path.unlink()


def lose_catalog(root: Path) -> None:
    (root / "catalog.db").unlink()


def spoil_catalog(root: Path) -> None:
    (root / "catalog.db").write_bytes(b"no database " * 900)


def move(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


DAMAGES: list[Callable[[Path], None]] = [empty_lists, lose_ledger_metadata, spoil_catalog, move]
LONG = [cut_metadata, lose_catalog]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the toy chain, partly compacted, and a copy of it to put back."""
    root = tmp_path_factory.mktemp("rebuild") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.pipeline.stages", lambda: STAGES)
        with toychain.drive(root, range(1)) as home:
            maintain.maintain(home, MaintenanceSettings(min_files=2))
        toychain.drive(root, range(2)).close()
    shutil.copytree(root, root.with_name("copy"))
    return root


@pytest.mark.parametrize("damage", DAMAGES + LONG if ALL else DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_one_line_everywhere_and_tables_are_rebuilt_from_ledger_and_shards(
    chain: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: STAGES)
    shutil.rmtree(chain, ignore_errors=True)
    shutil.copytree(chain.with_name("copy"), chain)
    with Home.open(toychain.make_config(chain).catalog) as home:
        rows, seq = live_rows(home), home.view().seq
    damage(chain)
    root = chain if chain.exists() else chain.with_name("elsewhere")
    table = "examples" if damage is empty_lists else "documents"
    monkeypatch.setattr("sys.argv", ["headrace", "sql", f"SELECT count(*) FROM {table}", "--root", str(root)])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capsys.readouterr().err
    assert said.count("\n") == 1, "one line"
    assert "headrace doctor" in said
    assert wrong(root)
    assert wrong(root, repair=True) == ""
    with Home.open(toychain.make_config(root).catalog) as home:
        assert (live_rows(home), home.view().seq) == (rows, seq)
        check_agreement(home)
    if damage is move:
        shutil.rmtree(root)


def test_a_copied_home_is_not_opened_as_the_other(chain: Path) -> None:
    shutil.rmtree(chain, ignore_errors=True)
    shutil.copytree(chain.with_name("copy"), chain)
    other = chain.with_name("second")
    shutil.copytree(chain, other)
    with pytest.raises(
        Corrupt, match=r"second/warehouse was moved or copied from .*home/warehouse; run headrace doctor --repair"
    ):
        Home.open(toychain.make_config(other).catalog)
    linked = chain.with_name("linked")
    linked.symlink_to(chain)
    Home.open(toychain.make_config(linked).catalog).close()


def test_a_damaged_ledger_file_says_so_and_is_not_guessed_at(chain: Path) -> None:
    shutil.rmtree(chain, ignore_errors=True)
    shutil.copytree(chain.with_name("copy"), chain)
    victim = sorted((chain / "warehouse/data/batches").glob("*.parquet"))[3]
    victim.write_bytes(victim.read_bytes()[:-1])
    with Home.open(toychain.make_config(chain).catalog) as home, pytest.raises(Corrupt, match="does not match the SHA"):
        home.view()
    said = wrong(chain, repair=True)
    assert "ledger: " in said
    assert victim.name in said
    assert "restore the file from a backup" in said
