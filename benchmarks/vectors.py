"""Compare vector search with bare FAISS, and the cost of adding a batch to small and large indexes.

`python -m benchmarks.vectors [--rows N] [--dimension D] [--json]`. Vectors are drawn around centres with a fixed seed.
Both sides search the same vectors with the same queries in turns: ours through its ids and segments, FAISS through one
flat index (or IVF with SQfp16 that reads as many lists) held in memory, without names. Recall is against brute force.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from catalog import schema
from catalog.home import Home
from catalog.settings import CatalogSettings, VectorSettings
from catalog.stage import Stage, StageReport
from catalog.vector_segments import Vectors
from catalog.vectors import VectorIndex

STAGE = Stage("embed", (), ("text_features",), 1, lambda _: {}, lambda *_: StageReport("embed"))
ADDED = 1_000
QUERIES = 1_000
SINGLE = 50
ROUNDS = 5
K = 10


def draw(number: int, dimension: int, seed: int) -> Vectors:
    """Draw unit vectors around 256 centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((256, dimension), np.float32)
    vectors = centres[rng.integers(0, 256, number)] + rng.standard_normal((number, dimension), np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def publish(home: Home, key: str, vectors: Vectors) -> None:
    """Publish one batch of vectors."""
    number, dimension = vectors.shape
    columns = {
        "document_id": pa.array([f"{key}-{i:07d}" for i in range(number)]),
        "vector": pa.ListArray.from_arrays(np.arange(0, number * dimension + 1, dimension), vectors.ravel()),
        "model": pa.array(["m"] * number),
        "revision": pa.array(["1"] * number),
    }
    rows = pa.table({name: columns[name].cast(schema.TABLES["text_features"].field(name).type) for name in columns})
    home.publish_origin(STAGE, key, number, {"text_features": rows}, {})


def open_index(home: Home, flat_max: int) -> VectorIndex:
    """Open the index as a command does."""
    return VectorIndex(home.root / "indexes", "text_features", "m", "1", VectorSettings(flat_max=flat_max))


def timed(work: Any) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(folder: Path, rows: int, dimension: int, flat_max: int) -> dict[str, Any]:
    """Build an index of `rows` vectors, add a batch to it and to one of a batch only, and search both ways."""
    home = Home.open(CatalogSettings(root=folder / "large"))
    small = Home.open(CatalogSettings(root=folder / "small"))
    vectors = draw(rows, dimension, 1)
    publish(home, "old", vectors)
    build = timed(lambda: open_index(home, flat_max).refresh(home.view()))
    publish(small, "old", vectors[:ADDED])
    open_index(small, flat_max).refresh(small.view())
    added = {}
    for name, one in (("small", small), ("large", home)):
        index = open_index(one, flat_max)
        publish(one, "new", draw(ADDED, dimension, 2))
        view = one.view()
        added[name] = timed(lambda index=index, view=view: index.refresh(view))  # type: ignore[misc]
    load = timed(lambda: open_index(home, flat_max))
    index, bare = open_index(home, flat_max), bare_index(np.concatenate([vectors, draw(ADDED, dimension, 2)]), flat_max)
    queries = draw(QUERIES, dimension, 3)
    seconds: dict[str, list[float]] = {"ours": [], "bare": [], "ours_single": [], "bare_single": []}
    nprobe = max(segment.told.nprobe for segment in index._segments)  # the same lists are read on both sides
    parameters = faiss.SearchParametersIVF(nprobe=nprobe) if nprobe else None
    for _ in range(ROUNDS):
        seconds["bare"].append(timed(lambda: bare.search(queries, K, params=parameters)))
        seconds["ours"].append(timed(lambda: index.search(queries, K)))
        seconds["bare_single"].append(
            timed(lambda: [bare.search(q[None], K, params=parameters) for q in queries[:SINGLE]])
        )
        seconds["ours_single"].append(timed(lambda: [index.search(q[None], K) for q in queries[:SINGLE]]))
    best = {name: statistics.median(spent) for name, spent in seconds.items()}
    return {
        "rows": rows + ADDED, "dimension": dimension, "segments": [segment.told.kind for segment in index._segments],
        "nprobe": [segment.told.nprobe for segment in index._segments],
        "build_seconds": build, "open_seconds": load, "add_1000_to_1000_seconds": added["small"],
        "add_1000_seconds": added["large"], "queries_per_second": QUERIES / best["ours"],
        "bare_queries_per_second": QUERIES / best["bare"], "ratio": best["bare"] / best["ours"],
        "single_ms": 1000 * best["ours_single"] / SINGLE, "bare_single_ms": 1000 * best["bare_single"] / SINGLE,
        "single_ratio": best["bare_single"] / best["ours_single"], "recall_at_10": index.recall(home.view()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def bare_index(vectors: Vectors, flat_max: int) -> Any:
    """Build what a FAISS user would: flat, or inverted lists of float16."""
    if len(vectors) <= flat_max:
        index = faiss.IndexFlatIP(vectors.shape[1])
    else:
        index = faiss.index_factory(vectors.shape[1], "IVF1024,SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // 65536)])
    index.add(vectors)
    return index


def main(arguments: Sequence[str]) -> None:
    """Print queries a second of both, their ratio, the cost of adding, and recall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    faiss.omp_set_num_threads(2)
    found = {}
    for name, flat_max in (("flat", 10**9), ("ivf", given.rows // 2)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(Path(folder), given.rows, given.dimension, flat_max)
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
