"""Weights that only a hub has: fetched once into the cache, laid out there like a local model."""

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalog.errors import ModelUnavailable
from catalog.models import Weights, cache_dir, remedy

REVISION = "headrace_revision.txt"  # written last: a folder that has it is whole
CONNECT_SECONDS = 5.0
SMALL = ["*.json", "*.txt", "*.model"]  # configuration and tokenizer, wherever they lie in a repository


def locate(weights: Weights, kind: str = "") -> Weights | None:
    """Return the weights with a path on this machine (given, packaged, or fetched before), or None; never connects."""
    if weights.path is not None:
        return weights
    folder = _folder(weights, kind)
    if not (folder / REVISION).is_file():
        return None
    return replace(weights, path=folder, revision=(folder / REVISION).read_text(encoding="utf-8"))


def fetch(weights: Weights, kind: str = "") -> Weights:
    """Return `locate(weights)`, downloading first if need be; raise ModelUnavailable within seconds when offline."""
    found = locate(weights, kind)
    if found is not None:
        return found
    download = {
        "clip": _clip,
        "text": _text,
        "whisper": _faster_whisper if kind == "faster-whisper" else _whisper,
        "captioner": _captioner,
    }
    target = _folder(weights, kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        revision = download[weights.task](weights, Path(aside))
        (Path(aside) / REVISION).write_text(revision, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        Path(aside).rename(target)
        Path(aside).mkdir()  # for the context manager to remove
    return replace(weights, path=target, revision=revision)


def _folder(weights: Weights, kind: str) -> Path:
    return cache_dir() / "hub" / "-".join(filter(None, (weights.task, kind))) / weights.name.replace("/", "--")


def _clip(weights: Weights, folder: Path) -> str:
    """Lay out `ARCHITECTURE/TAG` of open_clip, or a repository of the hub, as an open_clip folder."""
    import open_clip

    name, _, tag = _unpinned(weights.name)[0].partition("/")
    if name not in open_clip.list_models():
        repository = _unpinned(weights.name)[0].removeprefix("hf-hub:")
        return _snapshot(weights, repository, folder, ["open_clip_model.safetensors"])
    cfg: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
    if not cfg:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise ModelUnavailable(f"models.clip: {name} has no weights tagged '{tag}'; choose among {tags}")
    if not cfg.get("hf_hub"):
        raise ModelUnavailable(
            f"models.clip: {weights.name} is not on the hub; download it and set models.clip to its folder"
        )
    repository, file = os.path.split(cfg["hf_hub"])
    names = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    revision = _snapshot(weights, repository, folder, names)
    if not (folder / "open_clip_config.json").exists():
        model_cfg = open_clip.get_model_config(name) | ({"quick_gelu": True} if cfg.get("quick_gelu") else {})
        declared = {"model_cfg": model_cfg, "preprocess_cfg": {key: cfg[key] for key in cfg if key != "hf_hub"}}
        (folder / "open_clip_config.json").write_text(json.dumps(declared), encoding="utf-8")
    return revision


def _text(weights: Weights, folder: Path) -> str:
    name = _unpinned(weights.name)[0]
    repository = name if "/" in name else f"sentence-transformers/{name}"
    return _snapshot(weights, repository, folder, ["model.safetensors"])


def _captioner(weights: Weights, folder: Path) -> str:
    return _snapshot(weights, _unpinned(weights.name)[0], folder, ["model.safetensors"])


def _faster_whisper(weights: Weights, folder: Path) -> str:
    from faster_whisper import utils

    repository = weights.name if "/" in weights.name else utils._MODELS.get(weights.name)
    if repository is None:
        raise ModelUnavailable(f"models.whisper: no model '{weights.name}'; choose among {', '.join(utils._MODELS)}")
    return _snapshot(weights, repository, folder, ["model.bin"])


def _whisper(weights: Weights, folder: Path) -> str:
    """Download a checkpoint of openai-whisper, which checks the SHA-256 that its address names."""
    import whisper

    if weights.name not in whisper._MODELS:
        known = ", ".join(whisper.available_models())
        raise ModelUnavailable(f"models.whisper: no model '{weights.name}'; choose among {known}")
    address = whisper._MODELS[weights.name]
    _reach(address, weights)
    _attempt(weights, lambda: whisper._download(address, str(folder), False))
    return str(address.split("/")[-2][:16])


def _snapshot(weights: Weights, repository: str, folder: Path, files: list[str]) -> str:
    """Link a hub repository's small files and the first of `files` that it has into `folder`; return the commit."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    def snapshot(*, offline: bool) -> Path:
        patterns = [*SMALL, *files]
        path = huggingface_hub.snapshot_download(
            repository, revision=_unpinned(weights.name)[1], allow_patterns=patterns, local_files_only=offline
        )
        return Path(str(path))

    try:  # the hub's own cache first: a snapshot there may be partial
        source = snapshot(offline=True)
        whole = any((source / file).is_file() for file in files)
    except LocalEntryNotFoundError:
        whole = False
    except HFValidationError as error:
        what = f"models.{weights.task}: {weights.name} is neither a file or folder here nor a name of the hub"
        raise ModelUnavailable(f"{what}; set it to one of them") from error
    if not whole:
        if constants.HF_HUB_OFFLINE:
            raise ModelUnavailable(remedy(weights.task, weights.name))
        _reach(constants.ENDPOINT, weights)
        source = _attempt(weights, lambda: snapshot(offline=False))
    found = [file for file in files if (source / file).is_file()]
    if not found:
        raise ModelUnavailable(f"{weights.name}: {repository} on the hub has none of {', '.join(files)}")
    small = [path.relative_to(source) for pattern in SMALL for path in source.rglob(pattern)]
    for path in {Path(found[0]), *small}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to((source / path).resolve())
    return source.name[:16]


def _unpinned(name: str) -> tuple[str, str | None]:
    """Split NAME@REVISION, a commit, branch or tag of the hub; without one it is the newest."""
    name, _, revision = name.partition("@")
    return name, revision or None


def _reach(address: str, weights: Weights) -> None:
    """Raise ModelUnavailable unless a server answers; the hub's own client would retry for a minute."""
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 — the libraries' own https addresses
    try:
        urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as answer:
        answer.close()  # a refusal is an answer
    except OSError as error:
        raise ModelUnavailable(f"{remedy(weights.task, weights.name)} ({error})") from error


def _attempt(weights: Weights, download: Callable[[], Any]) -> Any:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return download()
    except (OSError, RuntimeError, HfHubHTTPError) as error:
        raise ModelUnavailable(f"{remedy(weights.task, weights.name)} ({error})") from error
