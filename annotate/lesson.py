"""What a learned annotator is trained from, and how."""

from dataclasses import dataclass
from pathlib import Path

from annotate.labels import Labelled


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults were chosen on a split of labelled news sentences (decision 0044)."""

    epochs: int = 15
    min_steps: int = 600  # more epochs where few labels would give fewer
    tuned_layers: int = 0  # the encoder's last ones; the others stay as they are
    batch_size: int = 16
    encoder_rate: float = 1e-4
    rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    threshold: float = 0.5
    minutes: float = 15.0  # fewer epochs where they would take longer
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """What to learn from, on top of what, and where the result goes."""

    labels: tuple[Path, ...]
    output: Path
    base: str = "en_core_web_sm"
    encoder: str = "all-MiniLM-L6-v2"
    reviewed: tuple[Labelled, ...] = ()  # labels beside those of the files
    test: Path | None = None  # otherwise a tenth of the labels is held out
