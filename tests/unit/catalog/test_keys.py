"""The key index: whole files, subtracted both ways; a lookup sees exactly the files that it asks for."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog import keys
from catalog.errors import Corrupt, InputError
from catalog.keys import KeyIndex, take
from catalog.schema import TABLES, body
from catalog.shards import conform


@pytest.fixture
def index(tmp_path: Path) -> Iterator[KeyIndex]:
    opened = KeyIndex(tmp_path / "indexes" / "keys.db")
    yield opened
    opened.close()


def data_file(folder: Path, name: str, ids: list[str], row_group: int = 2) -> str:
    rows = conform("pages", pa.table({"page_id": ids, "url": [f"http://x/{i}" for i in ids]}), name)
    path = folder / f"{name}.parquet"
    pq.write_table(rows, path, row_group_size=row_group)
    return str(path)


def test_rows_are_found_by_any_key_column(tmp_path: Path, index: KeyIndex) -> None:
    urls = [data_file(tmp_path, "f1", ["a", "b", "c"]), data_file(tmp_path, "f2", ["c", "d"])]
    assert index.find("pages", "page_id", ["c", "a", "nothing"], urls) == {urls[0]: [0, 2], urls[1]: [0]}
    assert index.find("pages", "url", ["http://x/d"], urls) == {urls[1]: [1]}
    assert index.find("pages", "page_id", ["http://x/d"], urls) == {}
    assert index.find("pages", "page_id", [], urls) == {}


def test_files_are_subtracted_both_ways(tmp_path: Path, index: KeyIndex) -> None:
    one, two, three = (data_file(tmp_path, name, [name]) for name in ("f1", "f2", "f3"))
    index.refresh("pages", [one, two])
    assert index.held("pages") == {one, two}
    Path(one).unlink()  # what is gone is dropped without being read
    index.refresh("pages", [two, three])
    assert index.held("pages") == {two, three}
    index.refresh("pages", [])
    assert index.held("pages") == set()
    (left,) = index._db.execute("SELECT COUNT(*) FROM keys").fetchone()
    assert left == 0


def test_tables_do_not_disturb_each_other(tmp_path: Path, index: KeyIndex) -> None:
    page = data_file(tmp_path, "f1", ["a"])
    rows = conform("media", pa.table({"media_id": ["a"]}), "m")
    pq.write_table(rows, tmp_path / "m.parquet")
    index.refresh("pages", [page])
    index.refresh("media", [str(tmp_path / "m.parquet")])
    assert index.held("pages") == {page}
    assert index.find("media", "media_id", ["a"], [str(tmp_path / "m.parquet")]) == {str(tmp_path / "m.parquet"): [0]}


def test_a_reader_with_an_older_view_neither_sees_more_nor_makes_another_see_less(
    tmp_path: Path, index: KeyIndex
) -> None:
    old = [data_file(tmp_path, "f1", ["a"])]
    new = [*old, data_file(tmp_path, "f2", ["a"])]
    other = KeyIndex(tmp_path / "indexes" / "keys.db")
    try:
        index.refresh("pages", new)
        assert other.find("pages", "page_id", ["a"], old) == {old[0]: [0]}
        assert index.find("pages", "page_id", ["a"], new) == {old[0]: [0], new[1]: [0]}
    finally:
        other.close()


def test_a_file_that_cannot_be_read_leaves_the_index_as_it_was(tmp_path: Path, index: KeyIndex) -> None:
    good = data_file(tmp_path, "f1", ["a"])
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    index.refresh("pages", [good])
    for name, words in (("bad", "cannot be read"), ("gone", "is missing")):
        with pytest.raises(Corrupt, match=f"{name}.parquet {words}.*; run headrace doctor"):
            index.refresh("pages", [good, str(tmp_path / f"{name}.parquet")])
    assert index.held("pages") == {good}
    assert index.find("pages", "page_id", ["a"], [good]) == {good: [0]}


def test_a_damaged_index_says_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    path.write_bytes(b"nothing like a database " * 400)
    with pytest.raises(Corrupt, match=r"keys\.db: file is not a database; run headrace doctor --repair"):
        KeyIndex(path)
    path.unlink()
    index = KeyIndex(path)
    index.refresh("pages", [data_file(tmp_path, f"f{k}", [f"{k}-{n}" for n in range(200)]) for k in range(3)])
    index.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    index = KeyIndex(path)
    with pytest.raises(Corrupt, match="run headrace doctor --repair"):
        index.find("pages", "page_id", ["0-1"], [str(tmp_path / "f0.parquet")])
    index.close()


def test_an_index_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "keys.db").mkdir()
    with pytest.raises(InputError, match=r"keys\.db: unable to open database file"):
        KeyIndex(tmp_path / "keys.db")


def test_more_values_than_one_statement_takes(tmp_path: Path, index: KeyIndex) -> None:
    ids = [f"{k:05d}" for k in range(1300)]
    url = data_file(tmp_path, "f1", ids, row_group=100)
    assert sorted(index.find("pages", "page_id", ids, [url])[url]) == list(range(1300))


def test_single_rows_are_taken_across_row_groups_in_file_order(tmp_path: Path) -> None:
    url = data_file(tmp_path, "f1", list("abcdefg"))
    rows = take(url, [6, 0, 3, 3], ["page_id", "batch_id"], "pages")
    assert rows["page_id"].to_pylist() == ["a", "d", "g"]
    assert rows["batch_id"].to_pylist() == ["f1"] * 3


def test_columns_that_an_old_file_lacks_are_null(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"batch_id": ["b"], "page_id": ["a"]}), path)
    rows = take(str(path), [0], ["page_id", "url", "depth"], "pages")
    assert rows.to_pylist() == [{"page_id": "a", "url": None, "depth": None}]
    assert rows.schema.field("depth").type == TABLES["pages"].field("depth").type


def test_null_keys_are_not_indexed(tmp_path: Path, index: KeyIndex) -> None:
    path = tmp_path / "nulls.parquet"
    pq.write_table(conform("pages", pa.table({"page_id": ["a"], "url": pa.nulls(1, pa.string())}), "b"), path)
    assert index.find("pages", "url", ["None", ""], [str(path)]) == {}


def test_a_file_of_an_older_release_without_a_key_column_is_indexed_by_the_others(
    tmp_path: Path, index: KeyIndex
) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"batch_id": ["b"], "page_id": ["a"]}), path)
    assert index.find("pages", "page_id", ["a"], [str(path)]) == {str(path): [0]}
    assert index.find("pages", "url", ["a"], [str(path)]) == {}


def test_an_index_made_for_other_key_columns_starts_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = data_file(tmp_path, "f1", ["a"])
    with monkeypatch.context() as patch:
        patch.setitem(keys.KEYS, "pages", ("page_id",))
        older = KeyIndex(tmp_path / "keys.db")
        assert older.find("pages", "page_id", ["a"], [url]) == {url: [0]}
        older.close()
    newer = KeyIndex(tmp_path / "keys.db")
    assert newer.find("pages", "url", ["http://x/a"], [url]) == {url: [0]}
    newer.close()
    again = KeyIndex(tmp_path / "keys.db")
    assert again.held("pages") == {url}, "an index made for these columns is kept"
    again.close()


def test_fields_of_structs_in_lists_are_keys_too(tmp_path: Path, index: KeyIndex) -> None:
    documents = [
        {"document_id": "d1", "media": [{"url": "http://x/1.png"}, {"url": "http://x/2.png"}]},
        {"document_id": "d2", "media": None},
        {"document_id": "d3", "media": [{"url": None}, {"url": "http://x/2.png"}, {"url": "http://x/2.png"}]},
    ]
    rows = conform("documents", pa.Table.from_pylist(documents, schema=body("documents")), "b")
    pq.write_table(rows, tmp_path / "d.parquet")
    url = str(tmp_path / "d.parquet")
    assert index.find("documents", "media.url", ["http://x/2.png"], [url]) == {url: [0, 2]}
