"""Write benchmarks/README.md: what the newest results in benchmarks/results say, beside what was aimed at.

`python -m benchmarks.report`. A benchmark without a result is left out, one that lacks a figure is an error.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.__main__ import flatten

FOLDER = Path(__file__).parent
HEAD = """# What was measured

Each figure is a ratio of two sides that ran by turns in one run, on the same inputs and the same two cores, so that a
busy machine hurts both. `python -m benchmarks` runs them, `make peers` installs the other systems; the files in
[results](results) hold everything else: seconds, CPU seconds, peak memory, versions and the machine. This page is made
of them by `python -m benchmarks.report`. What misses its target says so.

| | measured | target | |
|---|---|---|---|
"""


class Line(NamedTuple):
    """One line: a benchmark, what it is about, how its figures are told, and what was aimed at."""

    name: str
    what: str
    told: Callable[[dict[str, Any]], str]
    target: str = ""
    met: Callable[[dict[str, Any]], bool] | None = None


def beside(name: str, what: str, key: str, peer: str, target: float) -> Line:
    """Return the line of a ratio to a peer that is to reach a target."""
    return Line(
        name, what, lambda found: f"{found[key]:.2f} × {peer}", f"{target:g}", lambda found: bool(found[key] >= target)
    )


def speech(form: str, side: str, bare: str, target: float) -> Line:
    """Return the line of one backend's speed and word errors on short clips or long recordings."""

    def told(found: dict[str, Any]) -> str:
        rate, other = (100 * found[f"{name}.{form}.word_error_rate"] for name in (side, bare))
        speed = f"{found[f'{side}.{form}.speedup']:.2f} × `whisper.transcribe`"
        return f"{speed}; word errors {rate:.2f} % (bare {bare} {other:.2f} %)"

    clips = {"short": "clips of seconds", "long": "recordings over a minute"}[form]
    what = f"speech, {clips}, by {side.partition(', ')[2]}"
    return Line("transcribe", what, told, f"{target:g}", lambda found: bool(found[f"{side}.{form}.speedup"] >= target))


STAGE = "ratios.datasketch, word-3, 32x4 over headrace, stage, cpu_seconds"
ADDING = "ratios.adding to 100,000 over adding to 1,000"
MEANT = "speed.semhash over headrace, stage, CPU"
ENGLISH = "quality.English, 12 kinds.chosen on the other half.semhash's best F1, from 0.8"
LINES = (
    beside("crawl", "crawling loopback sites to WARC", "ratio", "Scrapy", 1.5),
    beside("images", "fetching pictures as they are", "ratio", "img2dataset", 1),
    beside("warc_read", "reading WARC, digests verified", "ratio_verified", "FastWARC", 0.9),
    beside("extraction", "HTML to text, tree and metadata", "speed.headrace.ratio", "bare trafilatura", 0.9),
    Line(
        "extraction",
        "text F1 on labelled news",
        lambda f: f"{f['quality.news.headrace.f1']:.3f} (trafilatura {f['quality.news.trafilatura.f1']:.3f})",
    ),
    beside("embed", "CLIP ViT-B/32, with decoding", "vit_b_32.ratio_images_per_s", "the best bare loop", 0.95),
    beside("embed", "the demo's tiny CLIP, with decoding", "tiny_clip.ratio_images_per_s", "the best bare loop", 0.95),
    speech("short", "headrace, faster-whisper", "faster-whisper", 2),
    speech("long", "headrace, faster-whisper", "faster-whisper", 2.5),
    speech("short", "headrace, whisper", "whisper.transcribe", 2),
    speech("long", "headrace, whisper", "whisper.transcribe", 2.5),
    beside("annotate_speed", "entities, relations and topics", "ratio", "bare `nlp.pipe`", 0.9),
    Line(
        "annotate_relations",
        "entities of spaCy's small model, relations of the shipped patterns",
        lambda f: (
            f"entities F1 {f['entities.all.f1']:.3f}; relations precision {f['relations.all.precision']:.3f}, "
            f"recall {f['relations.all.recall']:.3f}"
        ),
        "precision 0.7",
        lambda f: bool(f["relations.all.precision"] >= 0.7),
    ),
    beside("minhash", "near-duplicate texts, the whole stage, CPU", STAGE, "datasketch", 3),
    Line(
        "minhash",
        "adding 1,000 texts to 100,000, over adding them to 1,000",
        lambda f: f"{f[ADDING]:.2f} ×",
        "at most 1.5",
        lambda f: bool(f[ADDING] <= 1.5),
    ),
    beside("semantic", "copies by meaning, the whole stage, CPU", MEANT, "semhash", 2),
    Line(
        "semantic",
        "English copies by meaning, test half, from semhash's best threshold on",
        lambda f: "; ".join(
            f"{name} precision {f[f'{ENGLISH}.{name}.precision']:.3f}, recall {f[f'{ENGLISH}.{name}.recall']:.3f}"
            for name in ("headrace", "semhash")
        ),
        "as good",
        lambda f: all(
            bool(f[f"{ENGLISH}.headrace.{measure}"] >= f[f"{ENGLISH}.semhash.{measure}"])
            for measure in ("precision", "recall")
        ),
    ),
    Line(
        "image_dups",
        "copies of pictures on a planted ladder, by the demo's tiny CLIP",
        lambda f: f"precision {f['headrace.precision']:.3f}, recall {f['headrace.recall']:.3f}",
    ),
    beside("vectors", "search, flat, 100,000 × 512", "flat.ratio", "bare FAISS", 0.95),
    beside("vectors", "search, inverted lists, as many read", "ivf.ratio", "bare FAISS", 0.95),
    Line(
        "vectors",
        "adding 1,000 vectors to 100,000",
        lambda f: f"{f['flat.add_1000_seconds']:.2f} s",
        "1 s",
        lambda f: bool(f["flat.add_1000_seconds"] <= 1),
    ),
    Line(
        "publish",
        "a batch of five tables, 20 snapshots kept",
        lambda f: f"{f['mean_seconds.ours_keeping_20']:.3f} s",
        "0.5 s",
        lambda f: bool(f["mean_seconds.ours_keeping_20"] < 0.5),
    ),
)


def newest(name: str) -> Path | None:
    """Return the newest result of a benchmark."""
    found = sorted(FOLDER.glob(f"results/[0-9]*-[0-9][0-9]-[0-9][0-9]-{name}.json"))
    return found[-1] if found else None


def lines() -> Iterator[str]:
    """Yield the table's lines."""
    for line in LINES:
        path = newest(line.name)
        if path is None:
            continue
        found = flatten(json.loads(path.read_text(encoding="utf-8"))["result"])
        missed = "**missed:** " if line.met and not line.met(found) else ""
        yield f"| {line.what} | {missed}{line.told(found)} | {line.target} | [{path.name[:10]}](results/{path.name}) |"


def page() -> str:
    """Return the page."""
    return HEAD + "\n".join(lines()) + "\n"


def main() -> int:
    """Write it."""
    (FOLDER / "README.md").write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
