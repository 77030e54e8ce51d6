"""Near-duplicate texts beside datasketch, rensa and datatrove: speed, precision and recall by kind, adding to a corpus.

Every system runs in a cold process of two threads over the same documents. `stage` is all that `headrace dedup` does
(reading, shingling, MinHash, band index on disk, verification, decisions, commit); `core` leaves out what is on disk.
CPU seconds of datatrove are not known: its workers are not its children.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import neardup, peers
from benchmarks.minhash_peers import peak_mib
from benchmarks.neardup import Document, Labelled

PEERS = (
    "datasketch, word-5, 16x8", "datasketch, word-3, 32x4", "rensa, word-5, 16x8", "rensa, word-3, 32x4",
    "rensa, signatures only, word-3", "datatrove, defaults (5-grams, 14x8)", "datatrove, 3-grams, 32x4",
)  # fmt: skip
OURS = ("headrace, stage", "headrace, core")
TWO_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")


def main(arguments: Sequence[str]) -> None:
    """Compare, or be the child process that measures one system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a file in the folder of labelled texts, such as DATA/README.md")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        system, output = given.child
        Path(output).write_text(json.dumps(measure(system, given.data)))
        return
    result = compare(given.data.parent)
    print(json.dumps(result, indent=None if given.json else 1, ensure_ascii=False))


def compare(data: Path) -> dict[str, Any]:
    """Run every system over every set."""
    cuts = list(neardup.cut(data, 150))
    short = [*cuts, *neardup.mixed(cuts, 12_000 - len(cuts), 150)]
    long = list(neardup.mixed(cuts, 1_200, 1_500))
    articles = [Document(f"c{k}", text) for k, text in enumerate(cuts[:300])]
    sets = {
        "12,000 short texts and 3,000 edited": neardup.ladder(short),
        "1,200 long texts and 300 edited": neardup.ladder(long),
        "English, 12 kinds": neardup.edited_set(data / "neardup", "en-US"),
        "Chinese, 12 kinds": neardup.edited_set(data / "neardup", "zh-CN"),
        "news": neardup.manuals(data / "neardup"),
        "one article under four templates": neardup.syndicated(articles),
        "pages of one template": neardup.lookalikes(data / "captions" / "manifest.jsonl"),
    }  # fmt: skip
    found = {name: dict(_systems(labelled)) for name, labelled in sets.items()}
    added = {
        str(size): child("headrace, add 1000", [Document("corpus", str(size))], data)
        for size in (1_000, 10_000, 100_000)
    }
    return {"sets": found, "adding 1,000": added, "ratios": ratios(found, added)}


def ratios(found: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that have targets; CPU seconds where they are known, since the machine may be shared."""
    short = next(iter(found.values()))
    made = {"adding to 100,000 over adding to 1,000": added["100000"]["cpu_seconds"] / added["1000"]["cpu_seconds"]}
    for ours in OURS:
        for peer in short.keys() - set(OURS):
            measure = "cpu_seconds" if short[peer]["cpu_seconds"] else "seconds"
            made[f"{peer} over {ours}, {measure}"] = short[peer][measure] / short[ours][measure]
    return {name: round(value, 3) for name, value in sorted(made.items())}


def _systems(labelled: Labelled) -> Iterator[tuple[str, dict[str, Any]]]:
    python = peers.python()
    if python is None:
        print(peers.missing("minhash"), file=sys.stderr)
    for system in (*OURS, *(PEERS if python else ())):
        print(f"  {len(labelled.documents)} documents: {system}", file=sys.stderr)
        run = child(system, labelled.documents, Path())
        pairs = run.pop("pairs")
        judged = {} if "signatures" in system else judge(labelled, pairs)
        yield system, {"docs_per_second": round(len(labelled.documents) / run["seconds"]), **run, **judged}


def child(system: str, documents: Iterable[Document], data: Path) -> dict[str, Any]:
    """Measure one system in a process of its own."""
    with TemporaryDirectory() as folder:
        source, output = Path(folder) / "documents.jsonl", Path(folder) / "result.json"
        rows = [{"id": item.id, "text": item.text, "title": item.title, "data": str(data)} for item in documents]
        source.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
        if system in PEERS:
            command = [
                str(peers.python()),
                str(Path(__file__).parent / "minhash_peers.py"),
                system,
                str(source),
                str(output),
            ]
        else:
            command = [sys.executable, "-m", "benchmarks.minhash", str(source), "--child", system, str(output)]
        done = subprocess.run(command, env=os.environ | TWO_THREADS, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{system} failed: {done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(output.read_text())
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}


def judge(labelled: Labelled, pairs: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Compare what a system puts together, clusters closed, with the labels: recall by kind, precision over all."""
    clusters = _clusters(pairs)
    together = {pair for members in clusters for pair in combinations(sorted(members), 2)}
    kinds = Counter(labelled.pairs.values())
    hits = Counter(kind for pair, kind in labelled.pairs.items() if pair in together)
    wrong = Counter(kind for pair, kind in labelled.apart.items() if pair in together)
    if not labelled.apart and (strange := len(together - labelled.pairs.keys())):
        wrong["not planted"] = strange
    right, errors = sum(hits.values()), sum(wrong.values())
    return {
        "precision": round(right / (right + errors), 4) if right + errors else None,
        "wrong": dict(wrong),
        "recall": {kind: round(hits[kind] / count, 4) for kind, count in sorted(kinds.items())},
    }


def _clusters(pairs: Iterable[Sequence[str]]) -> list[set[str]]:
    of: dict[str, set[str]] = {}
    for one, other in pairs:
        merged = of.get(one, {one}) | of.get(other, {other})
        of |= dict.fromkeys(merged, merged)
    return list({id(members): members for members in of.values()}.values())


# ── the child process ────────────────────────────────────────────────────────────────────────────────────────────────


def measure(system: str, source: Path) -> dict[str, Any]:
    """Run one of our own systems over a file of documents."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    documents = [Document(row["id"], row["text"], row["title"]) for row in rows]
    systems: dict[str, Callable[[], dict[str, Any]]] = {
        "headrace, stage": lambda: stage(documents),
        "headrace, core": lambda: core(documents),
        "headrace, add 1000": lambda: add(int(documents[0].text), Path(rows[0]["data"])),
    }
    return {**systems[system](), "peak_mib": peak_mib()}


@contextmanager
def clock(result: dict[str, Any]) -> Iterator[None]:
    """Note how long something takes and how much CPU time it uses."""
    started, cpu = time.perf_counter(), time.process_time()
    yield
    result |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


def core(documents: Sequence[Document]) -> dict[str, Any]:
    """Shingle, sign, sort the bands, verify: what the peers do, in memory."""
    import numpy as np

    from catalog.minhash import Recipe, band_keys, jaccard, tokenize

    result: dict[str, Any] = {}
    recipe = Recipe(32, 4, 3, 3)
    with clock(result):
        codes = [tokenize(item.text) for item in documents]
        keys = band_keys(codes, recipe)
        met = []
        for band in keys.T:
            order = np.argsort(band, kind="stable")
            same = np.flatnonzero(band[order][1:] == band[order][:-1])
            met.append(order[same] * len(codes) + order[same + 1])
        pairs = np.stack(np.divmod(np.unique(np.concatenate(met)), len(codes)), axis=1)
        close = pairs[jaccard(codes, pairs, recipe) >= 0.5].tolist()
    return {**result, "pairs": [(documents[one].id, documents[other].id) for one, other in close]}


def stage(documents: Sequence[Document]) -> dict[str, Any]:
    """Run `dedup` over a home that holds the documents as one extract batch a thousand."""
    from benchmarks.minhash_home import dedup, opened, pairs_of, put

    with TemporaryDirectory() as folder, opened(Path(folder)) as (home, config):
        for start in range(0, len(documents), 1000):
            put(home, config, documents[start : start + 1000], start)
        result: dict[str, Any] = {}
        with clock(result):
            dedup(home, config)
        pairs = pairs_of(home)
        size = sum(path.stat().st_size for path in (home.root / "indexes" / "minhash").rglob("*") if path.is_file())
        return {**result, "index_bytes_per_document": size // len(documents), "pairs": pairs}


def add(size: int, data: Path) -> dict[str, Any]:
    """Add 1,000 documents, 300 of them copies with one word in twenty changed, to a home of `size`."""
    from benchmarks.minhash_home import dedup, opened, pairs_of

    result: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        builder = get_context("spawn").Process(target=grow, args=(size, data, Path(folder)))  # its memory is not ours
        builder.start()
        builder.join()
        if builder.exitcode:
            raise RuntimeError(f"the home of {size} documents was not built: exit code {builder.exitcode}")
        with opened(Path(folder)) as (home, config):
            before = peak_mib()
            with clock(result):
                dedup(home, config)
            found = len({one for one, _ in pairs_of(home) if one.startswith("n")})
        return {**result, "num_new": 1000, "num_found": found, "loaded_mib": before}


def grow(size: int, data: Path, folder: Path) -> None:
    """Make a home of `size` decided documents and 1,000 that wait."""
    import random

    from benchmarks.minhash_home import dedup, opened, put

    cuts = list(neardup.cut(data, 150))
    rng = random.Random(3)
    words = " ".join(cuts[:500]).split()
    corpus = neardup.mixed(cuts, size + 700, 150)
    copied: list[str] = []
    with opened(folder) as (home, config):
        for start in range(0, size, 1000):
            rows = [Document(f"m{start + k}", next(corpus)) for k in range(1000)]
            copied += [neardup.edit(item.text, 0.05, words, rng) for item in rows[:: max(1, size // 300)][:300]]
            put(home, config, rows, start)
            if start % 10_000 == 9_000:
                dedup(home, config)
        dedup(home, config)
        rng.shuffle(copied)
        texts = [*copied[:300], *corpus]
        put(home, config, [Document(f"n{k}", text) for k, text in enumerate(texts)], size)


if __name__ == "__main__":
    main(sys.argv[1:])
