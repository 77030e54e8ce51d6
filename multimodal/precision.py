"""Which numbers a CLIP model computes with: bfloat16 where that is faster, see docs/decisions/0040."""

import json
from pathlib import Path
from typing import Literal, TypeAlias

Dtype: TypeAlias = Literal["float32", "bfloat16"]
CPU_FLAGS = frozenset(("avx512_bf16", "amx_bf16", "bf16"))  # Intel and AMD, Intel, Arm


def choose_dtype(wanted: Literal["auto", "float32", "bfloat16"], model: Path | None, gpus: float) -> Dtype:
    """Return what is wanted; for auto bfloat16 on a GPU, and for a vision transformer on a CPU that multiplies it.

    `model` is an open_clip folder, None where the weights are not here.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if gpus > 0 or (_is_transformer(model) and _cpu_multiplies_bfloat16()) else "float32"


def _is_transformer(model: Path | None) -> bool:
    """Tell a transformer by its configuration; a ResNet counts the layers of each stage, and gains nothing."""
    config = model / "open_clip_config.json" if model else None
    if config is None or not config.is_file():
        return False
    layers = json.loads(config.read_text(encoding="utf-8")).get("model_cfg", {}).get("vision_cfg", {}).get("layers")
    return isinstance(layers, int)


def _cpu_multiplies_bfloat16() -> bool:
    """Read it from Linux's list of the first CPU's features; elsewhere it is not known."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return False
    lines = path.read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not CPU_FLAGS.isdisjoint(flags.split())
