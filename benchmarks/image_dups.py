"""Copies of pictures: what `headrace dedup` finds of a planted ladder, step by step, beside perceptual hashes alone.

The hashes are imagehash's pHash within 10 bits, imagededup's default, and within 6. `CLIP` is a cosine of 0.95 alone,
as semantic deduplication of pictures is commonly done. All see the same pictures, hashes and vectors.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import media_ladder
from benchmarks.media_ladder import Planted
from catalog.home import Home, View
from catalog.settings import Config

Pairs = list[tuple[str, str, bool]]  # a copy, what it is said to be one of, whether that is only proposed


def main(arguments: Sequence[str]) -> None:
    """Plant, run the stages, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="the site's first page; its gallery is copied")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        result = compare(given.site.parent / "gallery", Path(folder))
    print(json.dumps(result, indent=None if given.json else 1, ensure_ascii=False))


def compare(gallery: Path, folder: Path) -> dict[str, Any]:
    """Return recall by step, and precision, of each method."""
    planted = media_ladder.pictures(gallery, folder / "pictures")
    config, seconds = ran(folder / "home", folder / "pictures", ["crawl", "extract", "embed", "dedup"])
    with Home.open(config.catalog) as home:
        view = home.view()
        names = names_of(view)
        found = {"headrace": measured(planted, names, decided(view, names))}
        hashes, vectors = _features(view, names)
    started = time.process_time()
    for name, near in _baselines(hashes, vectors).items():
        found[name] = measured(planted, names, first_met(list(hashes), near))
    return {
        "pictures": len(names),
        "seconds": seconds,
        "cpu_seconds_of_the_others": round(time.process_time() - started, 2),
        **found,
    }


def ran(root: Path, source: Path, stages: Sequence[str]) -> tuple[Config, dict[str, float]]:
    """Run stages over a folder as a user does; return the configuration, and the seconds that each stage took."""
    sources = [{"url": str(source), "kind": "folder"}]
    given = {"root": str(root), "engine": "local", "models": "offline", "stages": list(stages), "data_sources": sources}
    path = source.with_suffix(".json")
    path.write_text(json.dumps(given))
    command = [str(Path(sys.executable).with_name("headrace")), "run", str(path), "--json"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Config(given), {report["stage"]: round(report["seconds"], 2) for report in told["stages"]}


def names_of(view: View) -> dict[str, str]:
    """Return the first file of each medium, by its id; equal bytes are one medium."""
    rows = view.read("media", ["media_id", "url"]).to_pylist()
    ordered = sorted(((row["url"], row["media_id"]) for row in rows), reverse=True)
    return {media_id: Path(url).name for url, media_id in ordered}


def decided(view: View, names: dict[str, str]) -> Pairs:
    """Return what dedup said, by files."""
    rows = view.read("duplicates", ["record_id", "kept_id", "state"]).to_pylist()
    return [(names[row["record_id"]], names[row["kept_id"]], row["state"] == "proposed") for row in rows]


def first_met(names: Sequence[str], near: Callable[[int, int], bool]) -> Pairs:
    """Drop each record for the first kept one that is near, in order of their names."""
    order = sorted(range(len(names)), key=names.__getitem__)
    kept: list[int] = []
    pairs: Pairs = []
    for one in order:
        keeper = next((other for other in kept if near(one, other)), None)
        if keeper is None:
            kept.append(one)
        else:
            pairs.append((names[one], names[keeper], False))
    return pairs


def measured(planted: Planted, names: dict[str, str], pairs: Pairs) -> dict[str, Any]:
    """Return the share of copies found by step, and how many pairs are of two different originals.

    A copy counts as found if it, or what its step left equal to another's, is one of a pair with the same original.
    """
    held = set(names.values())
    original = {name: planted.original(name) for name in planted.names}
    steps = {other: step for (_, other), step in planted.pairs.items() if other in held}
    by_copy: dict[str, set[str]] = defaultdict(set)
    wrong: Counter[str] = Counter()
    for one, other, proposed in pairs:
        kind = "proposed" if proposed else "decided"
        if original[one] == original[other]:
            by_copy[one].add(kind)
            by_copy[other].add(kind)
        else:
            wrong[kind] += 1
    recall = {}
    for step in dict.fromkeys(steps.values()):
        ours = [copy for copy, made in steps.items() if made == step]
        shares = [sum(kind in by_copy[copy] for copy in ours) / len(ours) for kind in ("decided", "proposed")]
        recall[step] = {"copies": len(ours), "found": round(shares[0], 3), "proposed": round(shares[1], 3)}
    good = Counter("proposed" if pair[2] else "decided" for pair in pairs if original[pair[0]] == original[pair[1]])
    return {
        "precision": round(good["decided"] / max(1, good["decided"] + wrong["decided"]), 4),
        "wrong": wrong["decided"],
        "precision_of_proposals": round(good["proposed"] / max(1, good["proposed"] + wrong["proposed"]), 4),
        "proposals": good["proposed"] + wrong["proposed"],
        "recall": round(sum("decided" in by_copy[copy] for copy in steps) / len(steps), 4),
        "by_step": recall,
    }


def _features(view: View, names: dict[str, str]) -> tuple[dict[str, int], Any]:
    rows = view.read("image_features", ["media_id", "phash", "vector"]).to_pylist()
    hashes = {names[row["media_id"]]: int(row["phash"], 16) for row in rows}
    return hashes, np.array([row["vector"] for row in rows], np.float32)


def _baselines(hashes: dict[str, int], vectors: Any) -> dict[str, Callable[[int, int], bool]]:
    bits = list(hashes.values())
    return {
        "pHash within 10 bits": lambda one, other: (bits[one] ^ bits[other]).bit_count() <= 10,
        "pHash within 6 bits": lambda one, other: (bits[one] ^ bits[other]).bit_count() <= 6,
        "CLIP from 0.95": lambda one, other: bool(vectors[one] @ vectors[other] >= 0.95),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
