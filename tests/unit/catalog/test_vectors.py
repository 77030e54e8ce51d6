"""The vector index follows the live batches both ways."""

import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import schema, vector_segments
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.ledger import Row, now
from catalog.settings import CatalogSettings, VectorSettings
from catalog.stage import Stage, StageReport
from catalog.vector_manifest import Manifest, manifests
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


@pytest.mark.parametrize("pattern", ["*.faiss", "*.parquet", "*.json"])
def test_a_file_that_does_not_match_its_manifest_is_refused(home: Home, pattern: str) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    file = next((home.root / "indexes" / "vectors").glob(pattern))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Corrupt, match="doctor --repair"):
        open_index(home)


def test_a_file_that_is_gone_is_named(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    file = next((home.root / "indexes" / "vectors").glob("*.faiss"))
    file.unlink()
    with pytest.raises(Corrupt, match=file.name):
        open_index(home)


def test_files_that_another_process_replaces_meanwhile_are_read_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    overtaken = Manifest.decode(next(manifests(home.root / "indexes")))
    publish(home, "two", {"b": [0, 1]})
    open_index(home)
    decode = Manifest.decode
    found = iter([overtaken])
    monkeypatch.setattr(Manifest, "decode", lambda path: next(found, None) or decode(path))
    assert len(VectorIndex(home.root / "indexes", "text_features", "m", "1")) == 2


def test_an_index_of_an_older_layout_is_built_anew(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    path = next(manifests(home.root / "indexes"))
    path.write_text(json.dumps({"table": "text_features", "model": "m", "batches": []}))
    assert names(open_index(home), [1, 0]) == ["a"]


def test_an_empty_home_has_no_hits(home: Home) -> None:
    assert names(open_index(home), [1, 0]) == []


def random_vectors(number: int, prefix: str, seed: int = 0) -> dict[str, list[float]]:
    drawn = np.random.default_rng(seed).standard_normal((number, 16), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return {f"{prefix}{i:05d}": row.tolist() for i, row in enumerate(drawn)}


def brute(vectors: dict[str, list[float]], query: list[float], k: int) -> list[str]:
    scores = {name: float(np.float32(vector) @ np.float32(query)) for name, vector in vectors.items()}
    return sorted(scores, key=lambda name: -scores[name])[:k]


def inverted(home: Home, recall: float = 0.99) -> VectorIndex:
    index = VectorIndex(home.root / "indexes", "text_features", "m", "1", VectorSettings(flat_max=500, recall=recall))
    index.refresh(home.view())
    return index


def test_many_vectors_go_to_inverted_lists_and_are_still_found(home: Home) -> None:
    vectors = random_vectors(3000, "v")
    publish(home, "one", vectors)
    index = inverted(home)
    manifest = Manifest.decode(next(manifests(home.root / "indexes")))
    assert manifest and [segment.kind for segment in manifest.segments] == ["ivf"]
    query = vectors["v00007"]
    hits = index.search(np.array([query], np.float32), 10, exact=index.stored(home.view()))[0]
    assert [name for name, _ in hits] == brute(vectors, query, 10)
    assert hits[0][1] == pytest.approx(1, abs=1e-6)  # scored with the stored vector, not with its float16
    assert (index.recall(home.view()) or 0) >= 0.98


def test_fewer_lists_are_read_where_less_recall_is_asked(home: Home) -> None:
    publish(home, "one", random_vectors(3000, "v"))
    inverted(home, 0.99)
    path = next(manifests(home.root / "indexes"))
    strict = Manifest.decode(path)
    path.unlink()
    inverted(home, 0.2)
    lax = Manifest.decode(path)
    assert strict and lax and lax.segments[0].nprobe < strict.segments[0].nprobe


def test_a_dropped_batch_leaves_inverted_lists(home: Home) -> None:
    publish(home, "one", random_vectors(800, "a", 1))
    publish(home, "two", random_vectors(900, "b", 2))
    inverted(home)
    revoke(home)
    index = inverted(home)
    assert len(index) == 800
    found = index.search(np.array(list(random_vectors(5, "b", 2).values()), np.float32), 10)
    assert all(name.startswith("a") for hits in found for name, _ in hits)


def test_small_additions_are_merged_geometrically(home: Home) -> None:
    for i in range(12):
        publish(home, str(i), random_vectors(20, f"{i:02d}-", i))
        open_index(home)
    manifest = Manifest.decode(next(manifests(home.root / "indexes")))
    assert manifest and sum(segment.rows for segment in manifest.segments) == 240
    rows = [segment.rows for segment in manifest.segments]
    assert len(rows) <= 3 and all(larger >= 4 * smaller for larger, smaller in pairwise(rows))
    held = {path.name for path in (home.root / "indexes" / "vectors").glob("*-*")}
    assert held == {name for segment in manifest.segments for name in (segment.file, segment.ids_file)}


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["add", "revoke", "activate"]), max_size=8), st.sampled_from([1, 3, 100]))
def test_whatever_is_published_and_revoked_the_index_finds_what_is_live(steps: list[str], flat_max: int) -> None:
    with TemporaryDirectory() as folder:
        home = Home.open(CatalogSettings(root=Path(folder)))
        batches: list[dict[str, list[float]]] = []
        off: set[int] = set()
        for step in steps:
            if step == "add":
                batches.append(random_vectors(1 + len(batches) % 3, f"{len(batches)}-", len(batches)))
                publish(home, str(len(batches)), batches[-1])
            elif batches:
                revoke(home, step)
                (off.add if step == "revoke" else off.discard)(len(batches) - 1)
            index = VectorIndex(home.root / "indexes", "text_features", "m", "1", VectorSettings(flat_max=flat_max))
            index.refresh(home.view())
            live = {k: v for i, batch in enumerate(batches) if i not in off for k, v in batch.items()}
            found = index.search(np.ones((1, 16), np.float32), len(live) + 5)[0]
            assert len(index) == len(live)
            assert {name for name, _ in found} == live.keys()
        home.close()


def test_only_allowed_ids_are_found_by_scan_and_by_selector(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_vectors(3000, "v")
    publish(home, "one", vectors)
    index = inverted(home)
    allowed = sorted(vectors)[::3]
    query = vectors["v00001"]
    expected = brute({name: vectors[name] for name in allowed}, query, 10)
    for rows in (10**6, 0):  # scanned exactly, then through the inverted lists
        monkeypatch.setattr(vector_segments, "SCAN_ROWS", rows)
        hits = index.search(np.array([query], np.float32), 10, pa.array(allowed), index.stored(home.view()))[0]
        assert {name for name, _ in hits} <= set(allowed)
        assert len(set(expected) & {name for name, _ in hits}) >= 9
    assert index.search(np.array([query], np.float32), 10, pa.array([], pa.string()))[0] == []


def test_what_is_forgotten_leaves_the_files_too(home: Home) -> None:
    vectors = random_vectors(30, "keep", 1)
    gone = random_vectors(1, "secret", 2)
    publish(home, "one", vectors | gone)
    index = open_index(home)
    assert index.forget(["secret00000", "unknown"]) == 1
    marker = np.float32(gone["secret00000"]).tobytes()
    for path in (home.root / "indexes" / "vectors").iterdir():
        assert marker not in path.read_bytes() and b"secret" not in path.read_bytes()
    assert "secret00000" not in names(open_index(home), gone["secret00000"], 40)
    assert len(open_index(home)) == 30


def test_what_another_process_forgot_is_forgotten_by_an_index_that_was_open(home: Home) -> None:
    publish(home, "one", {"a": [1, 0], "b": [0, 1]})
    index, other = open_index(home), open_index(home)
    other.forget(["a"])
    assert index.refresh(home.view())
    assert names(index, [1, 0], 2) == ["b"]
    assert not index.refresh(home.view())


def test_what_a_killed_writer_left_is_removed_by_the_next(home: Home) -> None:
    publish(home, "one", {"a": [1, 0]})
    open_index(home)
    path = next(manifests(home.root / "indexes"))
    orphan = path.with_name(f"{path.stem}-0123456789abcdef.faiss")
    orphan.write_bytes(b"half")
    publish(home, "two", {"b": [0, 1]})
    open_index(home)
    assert not orphan.exists()
