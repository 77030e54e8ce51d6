"""Compare `embed` with a bare open_clip loop, decoding included: `python -m benchmarks.embed DATA/site/index.html`

Both see the same pictures on two threads, in turns, each side in a process of its own. The bare loop opens each file
with Pillow, transforms it and encodes batches; headrace also hashes each picture, packs a thumbnail and decodes in
children that can be killed. ViT-B/32 has random weights. What Ray adds to the stage is measured apart.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

THREADS = 2
# side → type, pictures a model call; those of the bare loop were its fastest
SIDES = {
    "bare_float32": ("float32", 16), "bare_bfloat16": ("bfloat16", 64),
    "headrace_float32": ("float32", 16), "headrace_bfloat16": ("bfloat16", 16),
}  # fmt: skip
MODELS = {"vit_b_32": 96, "tiny_clip": 249}  # and how many pictures a round has


# ── one side, in a process of its own ────────────────────────────────────────────────────────────────────────────────


def serve(side: str, folder: str, paths: Sequence[str]) -> None:
    """Load and warm up; then answer each line of standard input with the figures of one round."""
    import torch

    torch.set_num_threads(THREADS)
    dtype, batch = SIDES[side]
    work = (_bare if side.startswith("bare") else _headrace)(folder, dtype, batch)
    work(paths[:batch])
    print("{}", flush=True)
    for _ in sys.stdin:
        before, started = _cpu_seconds(), time.monotonic()
        count = work(paths)
        seconds = time.monotonic() - started
        told = {"images_per_s": count / seconds, "cpu_ms_per_image": 1000 * (_cpu_seconds() - before) / count}
        print(json.dumps(told | {"peak_mib": _peak_mib()}), flush=True)


def _bare(folder: str, dtype: str, batch: int) -> Any:
    import open_clip
    import torch
    from PIL import Image

    precision = "fp32" if dtype == "float32" else "bf16"
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", precision=precision)
    model.eval()

    def work(paths: Sequence[str]) -> int:
        vectors = []
        for start in range(0, len(paths), batch):
            tensors = []
            for path in paths[start : start + batch]:
                with Image.open(path) as image:
                    tensors.append(transform(image.convert("RGB")))
            with torch.inference_mode():
                pixels = torch.stack(tensors).to(getattr(torch, dtype))
                vectors.append(model.encode_image(pixels, normalize=True))
        return len(torch.cat(vectors))

    return work


def _headrace(folder: str, dtype: Any, batch: int) -> Any:
    from catalog.models import resolve
    from multimodal.encoders import load_clip
    from multimodal.images import ImageEmbedder
    from multimodal.settings import EmbedSettings

    settings = EmbedSettings(batch_size=batch, labels=())
    encoder = load_clip(resolve("clip", folder), "cpu", dtype)
    embedder = ImageEmbedder(encoder, settings, lambda row, most: Path(row["media_id"]).read_bytes(), THREADS)

    def work(paths: Sequence[str]) -> int:
        return sum(bool(item.features) for item in embedder([{"media_id": path, "kind": "image"} for path in paths]))

    return work


def _family() -> list[psutil.Process]:
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def _cpu_seconds() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _family())


def _peak_mib() -> float:
    """Add up the peaks of this process and its children, as if they fell together."""
    found = 0
    for process in _family():
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return found / 1024


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _side(name: str, folder: Path, paths: Sequence[Path]) -> Iterator[subprocess.Popen[str]]:
    given = json.dumps([name, str(folder), [str(path) for path in paths]])
    command = [sys.executable, "-m", "benchmarks.embed", "--serve", given]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        _answer(process)
        yield process
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()


def _answer(process: subprocess.Popen[str]) -> dict[str, float]:
    line = process.stdout.readline()  # type: ignore[union-attr]
    assert line, "a side ended before it answered"
    told: dict[str, float] = json.loads(line)
    return told


def compare(folder: Path, paths: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Run the sides in turns; the ratio is to the better of the bare loops, by round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    with ExitStack() as stack:
        sides = {name: stack.enter_context(_side(name, folder, paths)) for name in SIDES}
        for _ in range(rounds):
            for name, process in sides.items():
                process.stdin.write("go\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                found[name].append(_answer(process))
    result: dict[str, Any] = {
        name: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in found.items()
    }
    for figure, best in (("images_per_s", max), ("cpu_ms_per_image", min)):
        ours, theirs = (
            [_best(found, who, figure, best, turn) for turn in range(rounds)] for who in ("headrace", "bare")
        )
        result[f"ratio_{figure}"] = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    return result | {"images": len(paths), "rounds": rounds, "target": 0.95}


def _best(
    found: dict[str, list[dict[str, float]]], who: str, figure: str, best: Callable[[list[float]], float], turn: int
) -> float:
    return best([runs[turn][figure] for name, runs in found.items() if name.startswith(who)])


def make_vit(folder: Path) -> Path:
    """Write a ViT-B/32 with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    model = open_clip.create_model("ViT-B-32")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    declared = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(declared))
    return folder


def ray_overhead(paths: Sequence[Path], folder: Path) -> dict[str, float]:
    """Time the embed command over the same batch on both engines, models loaded and Ray started each time."""
    material = folder / "material"
    material.mkdir()
    for path in paths:
        shutil.copy(path, material / path.name)
    seconds = {}
    for engine in ("local", "ray"):
        config = folder / f"{engine}.json"
        told = {"root": str(folder / engine), "engine": engine, "models": "offline", "data_sources": [str(material)]}
        config.write_text(json.dumps(told))
        for stage in ("crawl", "extract", "embed"):
            started = time.monotonic()
            headrace = str(Path(sys.executable).with_name("headrace"))
            subprocess.run([headrace, stage, str(config)], check=True, capture_output=True)
            seconds[engine] = time.monotonic() - started
    found = {f"{engine}_s": value for engine, value in seconds.items()}
    return found | {"ray_adds_s": seconds["ray"] - seconds["local"]}


def main(arguments: Sequence[str]) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, nargs="?", help="a file of the folder whose pictures are embedded")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        serve(*json.loads(given.serve))
        return
    from catalog.models import examples_dir

    pictures = sorted(given.index.parent.rglob("*.png"))
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folders = {"vit_b_32": make_vit(Path(name) / "vit"), "tiny_clip": examples_dir() / "tiny_clip"}
        result: dict[str, Any] = {
            model: compare(folders[model], pictures[: MODELS[model]], given.rounds) for model in MODELS
        }
        result["ray"] = ray_overhead(pictures, Path(name))
    print(json.dumps(result) if given.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
