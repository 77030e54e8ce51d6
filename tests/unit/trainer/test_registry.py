"""Versions in git: committed once, readable from any commit, safe from half-done writers."""

import json
from pathlib import Path
from typing import Any

import pytest
from dulwich import porcelain
from dulwich.repo import Repo

from catalog.errors import Corrupt, InputError
from trainer.registry import Registry


def manifest(round_id: str, **given: object) -> dict[str, Any]:
    base = {"round": round_id, "material": "m", "gate": {"reasons": ["it fell"]}, "weights": {"merged": None}}
    return {**base, **given}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.parquet"
    path.write_bytes(b"rows")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def messages(registry: Registry) -> list[str]:
    with Repo(str(registry.folder)) as repo:
        return [entry.commit.message.decode() for entry in repo.get_walker()]


def weights(tmp_path: Path, content: bytes = b"weights") -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_what_is_damaged_is_named(registry: Registry, plan: Path, tmp_path: Path) -> None:
    assert list(registry.problems()) == []
    sha256 = registry.keep(weights(tmp_path))
    registry.add(manifest("r1", weights={"merged": sha256}), plan, promote=True)
    assert list(registry.problems()) == []
    heads = registry.folder / ".git/refs/heads/main"
    objects = sorted((registry.folder / ".git/objects").glob("??/*"))  # blobs, trees and commits
    assert len(objects) >= 4
    for path, said in {
        registry.folder / "versions/v1/plan.parquet": "plan.parquet is not as it was committed",
        registry.folder / "promoted": "promoted is not as it was committed",
        registry.shelf / sha256 / "model.safetensors": "do not match their SHA-256",
        **{path: path.name for path in objects},
        heads: "names a commit that is not there",
    }.items():
        before = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(before[:-3] + bytes([before[-3] ^ 1]) + before[-2:])
        found = list(registry.problems())
        assert len(found) >= 1 and said in "; ".join(found), path
        path.write_bytes(before)
    assert list(registry.problems()) == []
    (registry.shelf / sha256 / "model.safetensors").unlink()
    (registry.shelf / sha256).rmdir()
    assert "are missing" in next(iter(registry.problems()))


def test_an_absent_repository_has_no_versions(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.promoted() is None
    assert not registry.folder.exists()


def test_versions_are_numbered_tagged_and_promoted(registry: Registry, plan: Path) -> None:
    names = [registry.add(manifest(f"r{k}"), plan, promote=k != 1)["version"] for k in range(3)]
    assert names == ["v1", "v2", "v3"]
    assert [found["version"] for found in registry.versions()] == names
    promoted = registry.promoted()
    assert promoted is not None
    assert promoted["version"] == "v3"
    assert porcelain.tag_list(str(registry.folder)) == [b"v1", b"v2", b"v3"]
    assert [text.partition("\n")[0] for text in messages(registry)] == [
        "v3: promoted",
        "v2: not promoted",
        "v1: promoted",
    ]


def test_a_version_that_was_not_promoted_leaves_the_pointer(registry: Registry, plan: Path) -> None:
    registry.add(manifest("r1"), plan, promote=True)
    registry.add(manifest("r2"), plan, promote=False)
    assert registry.promoted() == registry.version("v1")


def test_a_round_makes_one_version_however_often_it_is_added(registry: Registry, plan: Path) -> None:
    first = registry.add(manifest("r1"), plan, promote=True)
    assert registry.add(manifest("r1", created="later"), plan, promote=True) == first
    assert len(messages(registry)) == 1


def test_a_round_planned_again_after_a_purge_makes_another_version(registry: Registry, plan: Path) -> None:
    registry.add(manifest("r1"), plan, promote=True)
    assert registry.add(manifest("r1", material="without the purged rows"), plan, promote=True)["version"] == "v2"


def test_what_was_written_but_not_committed_is_no_version(registry: Registry, plan: Path) -> None:
    registry.add(manifest("r1"), plan, promote=True)
    folder = registry.folder / "versions" / "v2"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest("r2", version="v2")))
    (registry.folder / "promoted").write_text("v2\n")
    assert [found["version"] for found in registry.versions()] == ["v1"]
    assert registry.promoted() == registry.version("v1")
    assert registry.add(manifest("r3"), plan, promote=True)["version"] == "v2"
    assert registry.version("v2")["round"] == "r3"


def test_locks_of_a_killed_writer_and_a_missing_tag_are_made_good(registry: Registry, plan: Path) -> None:
    registry.add(manifest("r1"), plan, promote=True)
    git = registry.folder / ".git"
    for lock in (git / "index.lock", git / "refs" / "heads" / "main.lock"):
        lock.touch()
    porcelain.tag_delete(str(registry.folder), b"v1")
    registry.add(manifest("r2"), plan, promote=True)
    registry.add(manifest("r1"), plan, promote=True)
    assert porcelain.tag_list(str(registry.folder)) == [b"v1", b"v2"]
    with Repo(str(registry.folder)) as repo:
        tagged = repo[repo.refs[b"refs/tags/v1"]]
        assert tagged.message.startswith(b"v1: promoted")


def test_weights_are_kept_by_hash_and_checked_when_read(registry: Registry, plan: Path, tmp_path: Path) -> None:
    sha256 = registry.keep(weights(tmp_path))
    assert registry.keep(weights(tmp_path)) == sha256
    found = registry.add(manifest("r1", weights={"adapter": sha256, "merged": None}), plan, promote=False)
    assert (registry.weights(found, "adapter") / "model.safetensors").read_bytes() == b"weights"
    with pytest.raises(InputError, match="v1: has no merged weights"):
        registry.weights(found)


def test_other_weights_have_another_hash(registry: Registry, tmp_path: Path) -> None:
    assert registry.keep(weights(tmp_path)) != registry.keep(weights(tmp_path, b"others"))


def test_damaged_and_missing_weights_are_corrupt(registry: Registry, plan: Path, tmp_path: Path) -> None:
    sha256 = registry.keep(weights(tmp_path))
    found = registry.add(manifest("r1", weights={"merged": sha256}), plan, promote=True)
    file = registry.weights(found) / "model.safetensors"
    file.unlink()
    file.write_bytes(b"damage!")
    with pytest.raises(Corrupt, match="do not match their SHA-256"):
        registry.weights(found)
    with pytest.raises(Corrupt, match="are missing"):
        registry.weights({"version": "v1", "weights": {"merged": "0" * 64}})


def test_git_never_sees_the_weights(registry: Registry, plan: Path, tmp_path: Path) -> None:
    registry.keep(weights(tmp_path))
    registry.add(manifest("r1"), plan, promote=True)
    status = porcelain.status(str(registry.folder))
    assert status.untracked == []
    assert not any(status.staged.values())


def test_an_existing_repository_keeps_its_files_and_history(tmp_path: Path, plan: Path) -> None:
    folder = tmp_path / "repository"
    porcelain.init(str(folder))
    (folder / "README").write_text("ours")
    porcelain.add(str(folder), [str(folder / "README")])
    porcelain.commit(str(folder), b"ours", author=b"a <a@b>", committer=b"a <a@b>")
    registry = Registry(folder)
    registry.add(manifest("r1"), plan, promote=True)
    assert (folder / "README").read_text() == "ours"
    assert [text.strip().partition("\n")[0] for text in messages(registry)] == ["v1: promoted", "ours"]


def test_an_unknown_version_names_the_known_ones(registry: Registry, plan: Path) -> None:
    with pytest.raises(InputError, match="v9: no such model version; known: none yet"):
        registry.version("v9")
    registry.add(manifest("r1"), plan, promote=True)
    with pytest.raises(InputError, match="v9: no such model version; known: v1"):
        registry.version("v9")
