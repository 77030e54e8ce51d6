"""Copies of recordings: what `headrace dedup` finds of a planted ladder, step by step, beside hashes alone.

`bytes` finds equal files, `samples` equal decoded samples. Recordings under 20 words are only proposed: two people may
say the same prompt in the same time.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import media_ladder
from benchmarks.image_dups import Pairs, decided, measured, names_of, ran
from catalog.home import Home, View

LONG, SHORT = 6, 4  # recordings copied: so many of at least 20 words, so many prompts


def main(arguments: Sequence[str]) -> None:
    """Plant, run the stages, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path, help="JSON lines of recordings: audio, n_words, duration")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        result = compare(given.manifest, Path(folder))
    print(json.dumps(result, indent=None if given.json else 1, ensure_ascii=False))


def compare(manifest: Path, folder: Path) -> dict[str, Any]:
    """Return recall by step, and precision, of each method."""
    rows = sorted(map(json.loads, manifest.read_text().splitlines()), key=lambda row: (row["duration"], row["audio"]))
    long = [row for row in rows if row["n_words"] >= 25][:LONG]
    short = [row for row in rows if 4 <= row["n_words"] <= 12][:SHORT]
    chosen = [manifest.parent / row["audio"] for row in [*long, *short]]
    planted = media_ladder.sounds(chosen, folder / "sounds")
    config, seconds = ran(folder / "home", folder / "sounds", ["crawl", "extract", "transcribe", "dedup"])
    with Home.open(config.catalog) as home:
        view = home.view()
        names = names_of(view)
        pairs = decided(view, names)
        samples = _equal_samples(view, names)
    return {
        "recordings": len(names),
        "seconds": seconds,
        "headrace": measured(planted, names, pairs),
        "samples": measured(planted, names, samples),
        "bytes": measured(planted, names, []),
    }


def _equal_samples(view: View, names: dict[str, str]) -> Pairs:
    by_hash: dict[str, list[str]] = defaultdict(list)
    for row in view.read("transcripts", ["media_id", "pcm_sha256"]).to_pylist():
        by_hash[row["pcm_sha256"]].append(names[row["media_id"]])
    return [(other, min(same), False) for same in by_hash.values() for other in same if other != min(same)]


if __name__ == "__main__":
    main(sys.argv[1:])
