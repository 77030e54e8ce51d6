"""Weights that only a hub has."""

import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from catalog.errors import ModelUnavailable
from catalog.models import Weights
from multimodal import hub

MODELS = [
    (Weights("clip", "ViT-B-32/laion2b_s34b_b79k", None, "hub"), ""),
    (Weights("clip", "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", None, "hub"), ""),
    (Weights("text", "all-mpnet-base-v2", None, "hub"), ""),
    (Weights("whisper", "base", None, "hub"), "whisper"),
    (Weights("whisper", "base", None, "hub"), "faster-whisper"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


def snapshot(cache: Path, repository: str, files: dict[str, str]) -> None:
    """Lay out what the hub's client leaves in its cache."""
    root = cache / "hf" / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    for name, text in files.items():
        path = root / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(("weights", "kind"), MODELS)
def test_without_a_network_the_remedy_comes_within_seconds(
    weights: Weights, kind: str, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "faster-whisper":
        pytest.importorskip("faster_whisper", reason="needs headrace[fast-asr]")
    if kind == "whisper":
        monkeypatch.setitem(__import__("whisper")._MODELS, "base", "http://127.0.0.1:9/" + "a" * 64 + "/base.pt")
    if weights.task == "clip":
        __import__("open_clip")  # takes longer than the hub, where others compute meanwhile
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=f"models.{weights.task}"):
        hub.fetch(weights, kind)
    assert time.monotonic() - started < 15
    assert hub.locate(weights, kind) is None


def test_a_model_in_the_hubs_cache_becomes_a_local_folder(cache: Path) -> None:
    files = {
        "modules.json": "[]",
        "1_Pooling/config.json": "{}",
        "model.safetensors": "weights",
        "onnx/model.onnx": "no",
    }
    snapshot(cache, "sentence-transformers/all-mpnet-base-v2", files)
    weights = Weights("text", "all-mpnet-base-v2", None, "hub")
    found = hub.fetch(weights)
    assert found.path is not None
    assert found.revision == "0123456789abcdef"
    assert (found.path / "model.safetensors").read_text() == "weights"
    assert (found.path / "1_Pooling" / "config.json").read_text() == "{}"
    assert not (found.path / "onnx").exists()
    assert hub.locate(weights) == hub.fetch(weights) == found


def test_a_tag_of_open_clip_gets_a_configuration_of_its_own(cache: Path) -> None:
    snapshot(cache, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", {"open_clip_model.safetensors": "weights"})
    found = hub.fetch(Weights("clip", "ViT-B-32/laion2b_s34b_b79k", None, "hub"))
    assert found.path is not None
    assert '"embed_dim": 512' in (found.path / "open_clip_config.json").read_text()
    assert (found.path / "open_clip_model.safetensors").read_text() == "weights"


def test_a_partial_snapshot_is_not_taken_for_a_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(cache, "sentence-transformers/all-mpnet-base-v2", {"modules.json": "[]"})
    with pytest.raises(ModelUnavailable):
        hub.fetch(Weights("text", "all-mpnet-base-v2", None, "hub"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (Weights("clip", "ViT-B-32/laion2b", None, "hub"), "laion2b_s34b_b79k"),
        (Weights("whisper", "bse", None, "hub"), "tiny.en"),
        (Weights("clip", "a/b/c", None, "hub"), "models.clip: a/b/c is neither a file or folder here"),
        (Weights("text", "no name!", None, "hub"), "models.text: no name! is neither"),
    ],
)
def test_a_mistaken_name_is_answered_with_the_known_ones(weights: Weights, message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        hub.fetch(weights)
    assert hub.locate(weights) is None


def test_given_weights_need_no_hub(tmp_path: Path) -> None:
    weights = Weights("clip", "mine", tmp_path, "local:mine")
    assert hub.fetch(weights) is weights


def test_a_pinned_revision_is_the_one_that_is_fetched(cache: Path) -> None:
    snapshot(cache, "org/model", {"modules.json": "[]", "model.safetensors": "newest"})
    pinned = cache / "hf" / "models--org--model" / "snapshots" / ("f" * 40)
    pinned.mkdir()
    (pinned / "modules.json").write_text("[]")
    (pinned / "model.safetensors").write_text("pinned")
    for name, text, revision in (("org/model", "newest", "01234567"), (f"org/model@{'f' * 40}", "pinned", "ffffffff")):
        found = hub.fetch(Weights("text", name, None, "hub"))
        assert found.path is not None
        assert (found.path / "model.safetensors").read_text() == text
        assert found.revision.startswith(revision)
    with pytest.raises(ModelUnavailable, match=r"models\.text"):
        hub.fetch(Weights("text", f"org/model@{'e' * 40}", None, "hub"))


def test_a_captioner_comes_with_its_processor_and_tokenizer(cache: Path) -> None:
    files = {"config.json": "{}", "preprocessor_config.json": "{}", "vocab.txt": "a", "model.safetensors": "w"}
    snapshot(cache, "org/captioner", files | {"flax_model.msgpack": "no"})
    found = hub.fetch(Weights("captioner", "org/captioner", None, "hub"))
    assert found.path is not None
    assert files.keys() <= {path.name for path in found.path.iterdir()}
