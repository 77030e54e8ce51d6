"""Duplicates by meaning beside semhash, which is given our vectors: quality by threshold, speed, adding to a corpus.

`stage` is all that `headrace dedup` does: reading, an index on disk, candidates, what their words say, decisions,
commit. `core` is an index and the decisions alone, in memory, as semhash is. Labelled texts have MiniLM's vectors.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks import neardup, peers
from benchmarks.minhash_home import dedup, opened, pairs_of, put
from benchmarks.neardup import Document, Labelled
from catalog.search import load_encoder
from catalog.settings import Config

Vectors: TypeAlias = NDArray[np.float32]
Pairs: TypeAlias = list[tuple[int, int]]  # a record, what it was dropped for
Curves: TypeAlias = dict[str, dict[str, dict[str, dict[str, Any]]]]  # half → system → threshold → scores
THRESHOLDS = (0.7, 0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975)
PARTS = ("embedded", "first50")  # half a text, and a text within another: no copies, whose dropping would lose the rest
SIZE, DIMENSION, COPIES = 20_000, 384, 2_000
TEXTS = 80  # of each labelled set with copies


def main(arguments: Sequence[str]) -> None:
    """Compare quality, then speed, then what adding costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a file in the folder of labelled texts, such as DATA/README.md")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    result = {
        "quality": {name: quality(made) for name, made in labelled(given.data.parent).items()},
        "speed": speed(),
        "adding 1,000": {str(size): adding(size) for size in (1000, 10_000, 100_000)},
    }
    print(json.dumps(result, indent=None if given.json else 1, ensure_ascii=False))


def labelled(data: Path) -> dict[str, Labelled]:
    """Return sets of texts of which it is known which are copies."""
    cuts = list(neardup.cut(data, 150))[:TEXTS]
    return {
        "English, 12 kinds": edited(data / "neardup", "en-US"),
        "Chinese, 12 kinds": edited(data / "neardup", "zh-CN"),
        "copies with edits": neardup.ladder(cuts, every=2),
        "news": neardup.manuals(data / "neardup"),
        "pages of one template": neardup.lookalikes(data / "captions" / "manifest.jsonl"),
    }


def edited(folder: Path, language: str) -> Labelled:
    """Return the first TEXTS of a set with twelve kinds of edits, and their copies."""
    made = neardup.edited_set(folder, language)
    chosen = {item.id for item in made.documents if int(item.id[1:].partition("v")[0]) < TEXTS}
    made.documents = [item for item in made.documents if item.id in chosen]
    made.pairs = {pair: kind for pair, kind in made.pairs.items() if chosen.issuperset(pair)}
    return made


def quality(made: Labelled) -> dict[str, Any]:
    """Measure both from each threshold on, and at thresholds that were chosen on the other half of the copies."""
    encoder = load_encoder("text", Config({"models": "offline"}))
    vectors = encoder.encode_text([item.text for item in made.documents])
    numbers = {item.id: number for number, item in enumerate(made.documents)}
    groups = clusters({(numbers[a], numbers[b]): kind for (a, b), kind in made.pairs.items()})
    parts = {frozenset((numbers[a], numbers[b])) for (a, b), kind in made.pairs.items() if kind in PARTS}
    found: dict[str, Any] = {"documents": len(made.documents), "copies": sum(len(one) - 1 for one in groups)}
    dropped = {"headrace": with_headrace(made.documents, vectors, THRESHOLDS), "semhash": semhash(vectors, THRESHOLDS)}
    if not dropped["semhash"]:
        found["semhash"] = peers.missing("semhash")
    curves = {
        half: {
            name: {key: score(part(pairs, groups, half), part(groups, groups, half), parts)
                   for key, pairs in by_threshold.items()}
            for name, by_threshold in dropped.items()
        }
        for half in ("dev", "test")
    }  # fmt: skip
    return {**found, "curves, test half": curves["test"], "chosen on the other half": chosen(curves)}


def chosen(curves: Curves) -> dict[str, Any]:
    """Choose thresholds on one half of the copies, and tell what they bring on the other.

    That of semhash's best F1 for both; and for each, that of the best recall with at least the other's precision there.
    """
    dev, test = curves["dev"], curves["test"]
    if not dev["semhash"] or not any(row["f1"] for row in dev["semhash"].values()):
        return {}
    best = max(dev["semhash"], key=lambda key: (dev["semhash"][key]["f1"], key))
    found: dict[str, Any] = {f"semhash's best F1, from {best}": {name: test[name][best] for name in test}}
    for name, other in (("headrace", "semhash"), ("semhash", "headrace")):
        due = dev[other][best]["precision"]
        able = [key for key, row in dev[name].items() if row["precision"] >= due]
        at = max(able, key=lambda key: dev[name][key]["recall"], default=None)
        told = f"{name} with {other}'s precision, from {at}"
        found[told] = test[name][at] if at else "no threshold has it"
    return found


def part(items: Any, groups: Sequence[set[int]], half: str) -> Any:
    """Return the pairs or groups of one half: all copies of a text are in one, drawn by hash, as many in each."""
    drawn = sorted(groups, key=lambda members: _drawn(min(members)))
    half_of = {member: number % 2 for number, members in enumerate(drawn) for member in members}

    def in_half(item: Any) -> bool:
        record = min(item) if isinstance(item, set) else item[0]
        return half_of.get(record, _drawn(record) % 2) == (half == "test")

    return [item for item in items if in_half(item)]


def _drawn(record: int) -> int:
    return int.from_bytes(hashlib.sha256(str(record).encode()).digest()[:8], "big")


def clusters(pairs: dict[tuple[int, int], str]) -> list[set[int]]:
    """Put records together that are copies of one another, parts of texts aside, which are none."""
    of: dict[int, set[int]] = {}
    for (one, other), kind in pairs.items():
        if kind in PARTS:
            continue
        joined = of.get(one, {one}) | of.get(other, {other})
        of |= dict.fromkeys(joined, joined)
    return [set(one) for one in {frozenset(group) for group in of.values()}]


def score(pairs: Pairs, groups: Sequence[set[int]], parts: Collection[frozenset[int]] = ()) -> dict[str, Any]:
    """Return precision (dropped for a copy, of all that were dropped) and recall (of what should be dropped)."""
    group = {member: number for number, members in enumerate(groups) for member in members}
    right = sum(one in group and group[one] == group.get(other) for one, other in pairs)
    due = sum(len(members) - 1 for members in groups)
    halves = sum(frozenset(pair) in parts for pair in pairs)
    precision, recall = (right / len(pairs) if pairs else 1.0), (right / due if due else 0.0)
    return {
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / (precision + recall), 4) if right else 0.0,
        "wrong": len(pairs) - right,
        "of them parts": halves,
    }


def semhash(vectors: Vectors, thresholds: Sequence[float]) -> dict[str, Pairs]:
    """Run semhash over vectors; return what it drops from each threshold on, nothing where it is not installed."""
    return {key: [(one, other) for one, other in told["pairs"]] for key, told in peer(vectors, thresholds).items()}


def peer(vectors: Vectors, thresholds: Sequence[float]) -> dict[str, Any]:
    """Run semhash in its own environment; nothing where it is not installed."""
    python = peers.python()
    if python is None:
        return {}
    with TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.npz", Path(folder) / "out.json"
        np.savez(source, vectors=vectors, thresholds=np.array(thresholds))
        script = Path(__file__).with_name("semantic_peers.py")
        subprocess.run([str(python), str(script), str(source), str(output)], check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads(output.read_text())
        return found


def with_headrace(documents: Sequence[Document], vectors: Vectors, thresholds: Sequence[float]) -> dict[str, Pairs]:
    """Run the stage by equal texts and by meaning alone, anew for each threshold, as changed settings do."""
    numbers = {item.id: number for number, item in enumerate(documents)}
    found: dict[str, Pairs] = {}
    with TemporaryDirectory() as folder:
        for threshold in thresholds:
            settings = {"minhash": False, "semantic_threshold": threshold, "semantic_propose": threshold}
            with opened(Path(folder), True, **settings) as (home, config):
                if not found:
                    put(home, config, documents, 0, vectors)
                dedup(home, config)
                found[str(threshold)] = [(numbers[one], numbers[other]) for one, other in pairs_of(home)]
    return found


def planted(size: int, copies: int) -> tuple[Vectors, Pairs]:
    """Return random unit vectors; the last `copies` are turned a little from the first (cosine about 0.97)."""
    rng = np.random.default_rng(23)
    vectors = rng.normal(size=(size, DIMENSION)).astype(np.float32)
    noise = rng.normal(size=(copies, DIMENSION)).astype(np.float32)
    vectors[size - copies :] = vectors[:copies] + 0.25 * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, [(size - copies + k, k) for k in range(copies)]


def speed() -> dict[str, Any]:
    """Compare time over the same vectors, of which one in ten is a copy."""
    vectors, pairs = planted(SIZE, COPIES)
    groups = [set(pair) for pair in pairs]
    documents = [Document(str(k), f"{k} " + " ".join(_word(7 * k + n) for n in range(12))) for k in range(SIZE)]
    found: dict[str, Any] = {"vectors": SIZE, "dimension": DIMENSION, "planted": COPIES}
    with TemporaryDirectory() as folder, opened(Path(folder), True, minhash=False) as (home, config):
        for start in range(0, SIZE, 5000):
            put(home, config, documents[start : start + 5000], start, vectors[start : start + 5000])
        with clock(found, "headrace, stage"):
            dedup(home, config)
        ours = [(int(one), int(other)) for one, other in pairs_of(home)]
        found["headrace, stage"] |= score(ours, groups)
    with clock(found, "headrace, core"):
        ours = core(vectors, 0.95)
    found["headrace, core"] |= score(ours, groups)
    if theirs := peer(vectors, [0.95]):
        told = theirs["0.95"]
        found["semhash"] = {
            **{name: round(told[name], 2) for name in ("seconds", "cpu_seconds")}, **score(told["pairs"], groups),
        }  # fmt: skip
        for name in ("headrace, stage", "headrace, core"):
            found[f"semhash over {name}, CPU"] = round(told["cpu_seconds"] / found[name]["cpu_seconds"], 2)
            found[f"semhash over {name}, wall"] = round(told["seconds"] / found[name]["seconds"], 2)
    else:
        found["semhash"] = peers.missing("semhash")
    return found


def _word(number: int) -> str:
    return "".join(chr(97 + number * prime % 26) for prime in (3, 5, 7, 11, 17))


def core(vectors: Vectors, threshold: float) -> Pairs:
    """Find neighbours in a flat index and drop each record for the most similar one kept before it."""
    import faiss

    from catalog.neighbours import NEIGHBOURS

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    near: dict[int, list[tuple[float, int]]] = defaultdict(list)
    scores, found = index.search(vectors, NEIGHBOURS)
    for one, rank in np.argwhere(scores >= threshold).tolist():
        if (other := int(found[one, rank])) != one:
            near[one].append((float(scores[one, rank]), other))
    dropped: dict[int, int] = {}
    for one in range(len(vectors)):
        kept = [(score, other) for score, other in near[one] if other < one and other not in dropped]
        if kept:
            dropped[one] = max(kept)[1]
    return list(dropped.items())


def adding(size: int) -> dict[str, Any]:
    """Add 1,000 documents, 100 of them copies, to a home that has decided about `size`."""
    vectors, _ = planted(size + 1000, 100)
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder, opened(Path(folder), True, minhash=False) as (home, config):
        for start in range(0, size + 1000, 1000 if size < 5000 else 5000):
            end = min(size, start + (1000 if size < 5000 else 5000)) if start < size else size + 1000
            texts = [" ".join(_word(k + n * n) for n in range(9)) + f" {k}" for k in range(start, end)]
            rows = [Document(str(start + k), text) for k, text in enumerate(texts)]
            if start == size:
                dedup(home, config)
                before = len(pairs_of(home))
            put(home, config, rows, start, vectors[start:end])
        with clock(found, "stage"):
            dedup(home, config)
        return {**found["stage"], "found": len(pairs_of(home)) - before}


@contextmanager
def clock(result: dict[str, Any], name: str) -> Iterator[None]:
    """Note wall and CPU seconds."""
    started, cpu = time.perf_counter(), _cpu()
    yield
    result[name] = {"seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(_cpu() - cpu, 2)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1:])
