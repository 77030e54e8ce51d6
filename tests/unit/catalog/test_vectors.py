"""The vector index follows the live batches both ways."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalog import schema
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.ledger import Row, now
from catalog.settings import CatalogSettings
from catalog.stage import Stage, StageReport
from catalog.vectors import VectorIndex

SOURCE = Stage("embed", (), ("text_features",), 1, lambda _: {}, lambda home, config: StageReport("embed"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(CatalogSettings(root=tmp_path))


def publish(home: Home, key: str, vectors: dict[str, list[float]], model: str = "m") -> None:
    rows = [
        {"document_id": name, "vector": vector, "model": model, "revision": "1"} for name, vector in vectors.items()
    ]
    table = pa.Table.from_pylist(rows, schema=schema.body("text_features"))
    home.publish_origin(SOURCE, key, len(rows), {"text_features": table}, {})


def revoke(home: Home, kind: str = "revoke", nth: int = -1) -> None:
    target = [row for row in home.ledger.refresh().rows if row.kind == "publish"][nth].batch_id
    home.ledger.append(lambda _: [Row(seq=0, kind=kind, stage="embed", time=now(), targets=(target,))])


def open_index(home: Home) -> VectorIndex:
    index = VectorIndex(home.root / "indexes", "text_features", "m", "1")
    index.refresh(home.view())
    return index


def names(index: VectorIndex, query: list[float], k: int = 5) -> list[str]:
    return [name for name, _ in index.search(np.array([query], np.float32), k)[0]]


def test_search_returns_ids_by_inner_product(home: Home) -> None:
    publish(home, "one", {"a": [1, 0], "b": [0, 1], "c": [0.6, 0.8]})
    assert names(open_index(home), [1, 0]) == ["a", "c", "b"]


def test_a_new_batch_is_added_and_a_revoked_one_dropped(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    assert names(open_index(home), [1, 0]) == ["a"]
    publish(home, "two", {"b": [0, 1]})
    assert names(open_index(home), [0, 1]) == ["b", "a"]
    revoke(home)
    assert names(open_index(home), [0, 1]) == ["a"]
    revoke(home, "activate")
    assert names(open_index(home), [0, 1]) == ["b", "a"]


def test_nothing_new_saves_nothing(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    index = open_index(home)
    assert index.refresh(home.view()) is False


def test_another_models_vectors_stay_out(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    publish(home, "two", {"x": [1, 0, 0]}, model="other")
    assert len(open_index(home)) == 1


def test_a_query_of_another_dimension_is_refused(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    with pytest.raises(Corrupt, match="dimension 2, the query 3"):
        names(open_index(home), [1, 0, 0])


def test_an_index_file_that_does_not_match_its_manifest_is_refused(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    file = next((home.root / "indexes" / "vectors").glob("*.faiss"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Corrupt, match="doctor --repair"):
        open_index(home)


def test_files_that_another_process_replaces_meanwhile_are_read_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, "one", {"a": [1, 0]})
    overtaken = open_index(home)._load_manifest()
    publish(home, "two", {"b": [0, 1]})
    open_index(home)
    load = VectorIndex._load_manifest
    found = iter([overtaken])
    monkeypatch.setattr(VectorIndex, "_load_manifest", lambda self: next(found, None) or load(self))
    assert len(VectorIndex(home.root / "indexes", "text_features", "m", "1")) == 2


def test_an_empty_home_has_no_hits(home: Home) -> None:
    assert names(open_index(home), [1, 0]) == []
