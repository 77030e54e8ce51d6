"""Measure how far zero-shot tags mean what they say: `python -m benchmarks.tags DATA/captions/manifest.jsonl`

The labels are the names of two thirds of the pictures, so that for a third none is right. Temperature and "none
of these" are fitted on half of the pictures, by the likelihood of the right answer, and judged on the other half;
labels and halves are drawn several times. The numbers that a model's files declare are judged on everything beside.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from catalog.models import resolve
from multimodal.decode import Reject, decode_image
from multimodal.encoders import ClipEncoder, load_clip
from multimodal.tags import Calibration, calibration_error, probabilities

DRAWS = 20


def main(arguments: Sequence[str]) -> None:
    """Print the expected calibration error, accuracy and confidence before and after, and the numbers fitted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="JSON lines: image, caption_en")
    parser.add_argument("--model", default="tiny_clip")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    encoder = load_clip(resolve("clip", given.model))
    vectors, names = read(given.manifest, encoder)
    texts = encoder.encode_text([encoder.prompt.format(name) for name in names])
    answers = np.arange(len(names))
    draws = [judge(vectors, answers, texts, encoder, np.random.default_rng(seed)) for seed in range(DRAWS)]
    result: dict[str, Any] = {name: statistics.mean(draw[name] for draw in draws) for name in draws[0]}
    result |= {"images": len(names), "draws": DRAWS}
    print(json.dumps(result) if given.json else json.dumps(result, indent=1))


def read(manifest: Path, encoder: ClipEncoder) -> tuple[np.ndarray, list[str]]:
    """Return the vectors of the pictures and their names: the first sentence of each caption, without article."""
    pixels, names = [], []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        image = decode_image((manifest.parent / row["image"]).read_bytes())
        name = re.sub(r"^(an?|the) ", "", row["caption_en"].lower()).partition(".")[0].partition("!")[0].strip()
        if name not in names and not isinstance(image, Reject):
            pixels.append(encoder.geometry.fit(image))
            names.append(name)
    return encoder.encode(np.stack(pixels)), names


def among(answers: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Number the answers among the labels kept; −1 where none is right."""
    return np.where(kept, np.cumsum(kept) - 1, -1)[answers]


def judge(
    vectors: np.ndarray, answers: np.ndarray, texts: np.ndarray, encoder: ClipEncoder, random: np.random.Generator
) -> dict[str, float]:
    """Draw labels and halves; fit on one half, return the figures of the other before and after."""
    kept = random.permutation(len(texts)) < len(texts) * 2 // 3
    right = among(answers, kept)
    first = random.permutation(len(answers)) < len(answers) // 2
    fitted = fit(vectors[first], right[first], texts[kept], encoder.scale)
    found = {"temperature": fitted.temperature, "none": fitted.none or 0.0}
    for name, calibration in (("before", Calibration()), ("after", fitted), ("declared", encoder.calibration)):
        odds = probabilities(vectors[~first], texts[kept], encoder.scale, calibration)
        correct = odds.argmax(axis=1) == right[~first]
        found |= {
            f"ece_{name}": calibration_error(odds.max(axis=1), correct),
            f"confidence_{name}": float(odds.max(axis=1).mean()),
            f"accuracy_{name}": float(correct.mean()),
        }
    return found


def fit(vectors: np.ndarray, right: np.ndarray, texts: np.ndarray, scale: float) -> Calibration:
    """Choose temperature and "none of these" for the greatest likelihood of the right answers."""
    rows = np.arange(len(right))

    def loss(given: np.ndarray) -> float:
        odds = probabilities(vectors, texts, scale, Calibration(float(np.exp(given[0])), float(given[1])))
        likely = np.where(right < 0, 1 - odds.sum(axis=1), odds[rows, np.maximum(right, 0)])
        return float(-np.log(np.maximum(likely, 1e-12)).mean())

    found = minimize(loss, [0.0, float((vectors @ texts.T).max(axis=1).mean())], method="Nelder-Mead")
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
