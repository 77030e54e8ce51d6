"""Components, topics and maps of the vectors of a small home."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from storybook import Made, decision, document, put
from typer.testing import CliRunner

from catalog.errors import ConfigError, InputError
from catalog.home import Home
from catalog.settings import CatalogSettings, Config
from catalog.tombstones import Forgotten
from multimodal import maps, pca
from multimodal.cli import app
from multimodal.forget import KEEPER
from multimodal.points import read_points
from multimodal.topics import find_topics, stored_topics

CENTRES = np.eye(3, 8, dtype=np.float32)
WORDS = (("tea", "green leaf"), ("ferry", "river"), ("loom", "river"))  # a keyword of two groups names neither first


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(CatalogSettings(root=tmp_path / "home")) as opened:
        yield opened


def add(home: Home, groups: Sequence[int], day: int = 0, model: str = "m") -> list[str]:
    """Publish a day's documents, their vectors near their group's centre, and their keywords; return their ids."""
    rng = np.random.default_rng(day)
    documents = [document(f"{day}-{number}.html", "p", f"Text {day} {number}") for number in range(len(groups))]
    for group, row in zip(groups, documents, strict=True):
        row["language"] = ("en", "zh", "de")[group]
    extract = put(home, "extract", Made({"documents": documents}))
    vectors = [(CENTRES[group] + rng.normal(0, 0.05, 8)).astype(np.float32).tolist() for group in groups]
    ids = [row["document_id"] for row in documents]
    features = [
        {"document_id": name, "vector": vector, "model": model, "revision": "1"}
        for name, vector in zip(ids, vectors, strict=True)
    ]
    put(home, "embed", Made({"text_features": features}), [extract], recipe=f"embed with {model}")
    found = [
        {"subject_id": name, "subject_kind": "document", "topics": [{"label": w, "score": 0.5} for w in WORDS[group]]}
        for name, group in zip(ids, groups, strict=True)
    ]
    put(home, "annotate", Made({"annotations": found}), [extract])
    return ids


def test_components_are_fitted_as_batches_come_and_stored(home: Home) -> None:
    add(home, [0, 1, 2] * 10)
    first = pca.fit(home.root, "text", read_points(home.view(), "text"), 3)
    assert (first["num_vectors"], first["added"], first["refitted"], first["num_components"]) == (30, 30, True, 3)
    add(home, [0, 1, 2] * 5, day=1)
    points = read_points(home.view(), "text")
    second = pca.fit(home.root, "text", points, 3)
    assert (second["num_vectors"], second["added"], second["refitted"]) == (45, 15, False)
    exact = PCA(8).fit(points.vectors)
    assert second["shares"][:2] == pytest.approx(exact.explained_variance_ratio_[:2], rel=0.02)
    again = pca.fit(home.root, "text", points, 3)
    assert (again["added"], again["shares"]) == (0, second["shares"])
    projected, _ = pca.project(home.root, "text", points, 3)
    assert projected.shape == (45, 3) and projected.dtype == np.float32


@pytest.mark.parametrize("damage", [b"", b"not an archive"])
def test_components_are_fitted_anew_where_the_file_is_damaged(home: Home, damage: bytes) -> None:
    add(home, [0, 1, 2] * 4)
    points = read_points(home.view(), "text")
    Path(pca.fit(home.root, "text", points, 2)["file"]).write_bytes(damage)
    assert pca.fit(home.root, "text", points, 2)["refitted"]


def test_components_never_hold_what_is_gone(home: Home) -> None:
    add(home, [0, 1, 2] * 4)
    points = read_points(home.view(), "text")
    pca.fit(home.root, "text", points, 2)
    kept = replace(points, vectors=points.vectors[:-1], rows=points.rows[:-1], num_all=11)
    assert pca.fit(home.root, "text", kept, 2) | {"file": ""} == {
        **pca.fit(home.root, "text", kept, 2), "added": 11, "refitted": True, "file": "",
    }  # fmt: skip


def test_points_are_current_and_of_the_newest_model(home: Home) -> None:
    ids = add(home, [0, 0, 1, 1])
    batch = next(row.batch_id for row in home.view().state.live.values() if row.stage == "extract")
    put(home, "dedup", Made({"duplicates": [decision("exact", (ids[0], batch), (ids[1], batch))]}), [batch])
    assert [row["id"] for row in read_points(home.view(), "text").rows] == sorted(ids[1:])
    other = add(home, [2, 2, 2], day=1, model="newer")
    points = read_points(home.view(), "text")
    assert (points.model, {row["id"] for row in points.rows}) == ("newer", set(other))
    assert len(read_points(home.view(), "text", limit=2).rows) == 2
    with pytest.raises(InputError, match="no image vectors here yet; run the embed stage"):
        read_points(home.view(), "image")


def test_topics_are_groups_named_by_what_sets_them_apart(home: Home) -> None:
    ids = add(home, [0] * 8 + [1] * 6 + [2] * 4)
    result = find_topics(home, None, 0, False)
    assert [topic["num_documents"] for topic in result["topics"]] == [8, 6, 4]
    assert [topic["name"].split(", ")[0] for topic in result["topics"]] == ["green leaf", "ferry", "loom"]
    assert all(len(topic["examples"]) == 3 for topic in result["topics"])
    assert stored_topics(home.root)[ids[-1]] == "loom, river"
    assert find_topics(home, None, 0, True) == result


def test_new_documents_join_stored_topics_until_a_refit(home: Home) -> None:
    add(home, [0] * 8 + [1] * 6)
    first = find_topics(home, 2, 0, False)
    new = add(home, [1] * 9, day=1)
    joined = find_topics(home, None, 0, False)
    assert not joined["refitted"] and joined["fitted_seq"] == first["fitted_seq"] < joined["seq"]
    assert [topic["num_documents"] for topic in joined["topics"]] == [8, 15]
    assert stored_topics(home.root)[new[0]] == first["topics"][1]["name"]
    assert [topic["num_documents"] for topic in find_topics(home, None, 0, True)["topics"]] == [15, 8]
    assert find_topics(home, 3, 0, False)["refitted"]  # another number was asked for


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_the_same_for_a_seed_and_keeps_groups_together(home: Home, method: maps.Method) -> None:
    add(home, [0] * 12 + [1] * 12 + [2] * 12)
    made = maps.draw(home, "text", method, "language", 100, 7)
    assert made == maps.draw(home, "text", method, "language", 100, 7)
    assert {point["group"] for point in made["points"]} == {"en", "zh", "de"}
    flat = np.array([[point["x"], point["y"]] for point in made["points"]])
    assert np.abs(flat).max() == pytest.approx(1, abs=1e-3)
    names = np.array([point["group"] for point in made["points"]])
    far = np.linalg.norm(flat[:, None] - flat[None], axis=2) + 9 * np.eye(len(flat))
    assert (names[far.argmin(axis=1)] == names).mean() > 0.9


def test_a_sample_has_components_of_its_own(home: Home) -> None:
    add(home, [0, 1, 2] * 5)
    add(home, [0, 1, 2] * 5, day=1)
    fitted = pca.fit(home.root, "text", read_points(home.view(), "text"), 8)
    stored = Path(fitted["file"]).read_bytes()
    assert maps.draw(home, "text", "pca", "none", 12, 0)["num_points"] == 12
    assert Path(fitted["file"]).read_bytes() == stored
    assert maps.draw(home, "text", "pca", "none", 30, 0)["shares"] == fitted["shares"][:2]


def test_a_film_is_its_first_frame_and_a_medium_its_first_url(home: Home) -> None:
    extract = put(home, "extract", Made({"media": [{"media_id": "film", "kind": "video", "url": url} for url in "ba"]}))
    frames = [
        {"media_id": "film", "vector": [float(time), 1.0], "frame_time": float(time), "model": "m",
         "revision": "1"}
        for time in (8, 0, 4, 2)
    ]  # fmt: skip
    put(home, "embed", Made({"image_features": frames}), [extract])
    points = read_points(home.view(), "image")
    assert (points.vectors.tolist(), [row["url"] for row in points.rows]) == ([[0.0, 1.0]], ["a"])


def test_equal_vectors_are_one_place(home: Home) -> None:
    extract = put(home, "extract", Made({"documents": [document(f"{n}.html", "p", f"Text {n}") for n in range(4)]}))
    features = [
        {"document_id": row, "vector": [1.0, 0.0, 0.0], "model": "m", "revision": "1"}
        for row in home.view().read("documents", ["document_id"])["document_id"].to_pylist()
    ]
    put(home, "embed", Made({"text_features": features}), [extract])
    assert pca.fit(home.root, "text", read_points(home.view(), "text"), 2)["explained_variance"] == 0
    for limit in (100, 3):
        made = maps.draw(home, "text", "pca", "none", limit, 0)
        assert made["shares"] == [0, 0]
    assert {(point["x"], point["y"]) for point in made["points"]} == {(0.0, 0.0)}


def test_a_page_holds_all_it_needs_and_runs_nothing_else(home: Home, tmp_path: Path) -> None:
    add(home, [0, 1, 2, 0])
    made = maps.draw(home, "text", "pca", "source", 100, 0)
    made["points"][0] |= {"title": "</script><script>alert(1)</script>", "url": "javascript:alert(1)"}
    maps.write_map(made, tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "http://" not in re.sub(r'"url": "[^"]*"|"group": "[^"]*"', "", text)
    script = re.search(r"</script><script>(.*)</script>", text, re.DOTALL)
    assert script and b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data and json.loads(data[1])["points"] == made["points"]
    maps.write_map(made, tmp_path / "map.json")
    assert json.loads((tmp_path / "map.json").read_text(encoding="utf-8")) == made
    with pytest.raises(ConfigError, match=r"written as \.html, \.png or \.json"):
        maps.write_map(made, tmp_path / "map.gif")


def test_a_picture_is_drawn(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra maps")
    add(home, [0, 1, 2, 0])
    maps.write_map(maps.draw(home, "text", "pca", "none", 100, 0), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_missing_is_said(home: Home) -> None:
    add(home, [0, 1])
    with pytest.raises(InputError, match="2 text vectors are too few"):
        maps.draw(home, "text", "pca", "none", 100, 0)
    add(home, [0, 1], day=1)
    with pytest.raises(InputError, match="run headrace topics first"):
        maps.draw(home, "text", "pca", "topic", 100, 0)


def test_a_takedown_removes_what_was_derived(home: Home) -> None:
    add(home, [0, 1, 2] * 4)
    find_topics(home, 2, 0, False)
    pca.fit(home.root, "text", read_points(home.view(), "text"), 2)
    config = Config({"root": str(home.root)})
    with KEEPER.quiet(home, config):
        assert KEEPER.forget(home, config, Forgotten()) == {"derived_files": 3}
    assert stored_topics(home.root) == {} and not (home.root / pca.FOLDER).exists()


def test_what_cannot_be_removed_is_not_called_forgotten(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    add(home, [0, 1, 2] * 4)
    find_topics(home, 2, 0, False)

    def refuse(path: str, **_: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("os.unlink", refuse)
    with pytest.raises(PermissionError):
        KEEPER.forget(home, Config({"root": str(home.root)}), Forgotten())


def test_the_commands_print_what_they_found(home: Home, tmp_path: Path) -> None:
    add(home, [0] * 5 + [1] * 5)

    def run(*words: str) -> Any:
        result = CliRunner().invoke(app, [*words, "--root", str(home.root), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert [topic["num_documents"] for topic in run("topics", "-k", "2")["topics"]] == [5, 5]
    assert run("map", "fit", "--components", "2")["num_components"] == 2
    drawn = run("map", "draw", "--method", "pca", "--color", "topic", "--output", str(tmp_path / "map.json"))
    assert drawn["num_points"] == 10 and "points" not in drawn
    assert CliRunner().invoke(app, ["topics", "-k", "many"]).exit_code == 2
