"""One immutable piece of a vector index: a FAISS file and, beside it, the ids in the order of its vectors."""

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog import files
from catalog.errors import Corrupt
from catalog.vector_manifest import Segment, check_file

Vectors = NDArray[np.float32]
IDS = pa.schema([("id", pa.string()), ("batch_id", pa.string())])
SCAN_ROWS = 20_000  # a filter that leaves fewer is answered exactly: an IVF list walk would miss some of them
GPU_QUERIES = 256  # copying an index to a GPU pays from about here
TRAIN_PER_LIST = 64  # vectors that k-means sees for each of its centres, at most
MIN_PER_LIST = 39  # and at least: FAISS warns below
SAMPLE = 128  # queries that recall is measured with
NEIGHBOURS = 10
FAR = 0.3  # cosine of a far query with the vector that it was made from: words are about as far from pictures in CLIP


class OpenSegment:
    """A segment in memory."""

    def __init__(self, folder: Path, told: Segment) -> None:
        self.told = told
        self._index = _read(folder / told.file, told.sha256)
        path = folder / told.ids_file
        check_file(path, told.ids_sha256)
        self.ids = pq.read_table(path, schema=IDS)
        self._replica: Any = None

    @property
    def dimension(self) -> int:
        """The number of components of a vector."""
        return int(self._index.d)

    @cached_property
    def names(self) -> NDArray[np.object_]:
        """The ids as an array of str, by position."""
        return np.asarray(self.ids["id"].to_numpy(zero_copy_only=False), object)

    def vectors(self, positions: NDArray[np.int64] | None = None) -> Vectors:
        """Return all vectors, or those at some positions, [N, dimension]; from float16 where the segment is IVF."""
        if self.told.kind == "ivf":
            self._index.make_direct_map()
        if positions is None:
            return np.asarray(self._index.reconstruct_n(0, self.told.rows), np.float32)
        return np.asarray(self._index.reconstruct_batch(positions), np.float32)

    def search(self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> tuple[Vectors, NDArray[np.int64]]:
        """Return scores and positions, [N, k] each, best first; position -1 where there are no more."""
        k = min(k, self.told.rows)
        if allowed is None:
            return self._searched(queries, k, None)
        positions = np.flatnonzero(allowed).astype(np.int64)
        if len(positions) > SCAN_ROWS:
            selector: Any = faiss.IDSelectorBitmap  # its Python wrapper takes an array, its declaration pointers
            return self._searched(queries, k, selector(np.packbits(allowed, bitorder="little")))
        if not len(positions):
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        scores = queries @ self.vectors(positions).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), positions[best]

    def _searched(self, queries: Vectors, k: int, selector: Any) -> tuple[Vectors, NDArray[np.int64]]:
        given: dict[str, Any] = {"sel": selector} if selector is not None else {}
        parameters: Any
        if self.told.kind == "ivf":
            parameters = _ivf(nprobe=self.told.nprobe, **given)
        else:
            parameters = faiss.SearchParameters(**given) if given else None
        index = self._index
        if selector is None and len(queries) >= GPU_QUERIES and faiss.get_num_gpus():  # GPU indexes know no selectors
            self._replica = self._replica or faiss.index_cpu_to_all_gpus(index)
            index = self._replica
        scores, positions = index.search(queries, k, params=parameters)
        return scores, positions


def write_segment(folder: Path, stem: str, vectors: Vectors, ids: pa.Table, flat_max: int, recall: float) -> Segment:
    """Build a segment of vectors [N, D] and their ids, write its files durably, and return what to put in the manifest.

    Up to `flat_max` vectors are held as they are; more as float16 in inverted lists, read so many at a search that
    the recall@10 measured on a sample reaches `recall`.
    """
    index, nprobe = (_flat(vectors), 0) if len(vectors) <= flat_max else _inverted(vectors, recall)
    data = faiss.serialize_index(index).tobytes()
    sink = pa.BufferOutputStream()
    pq.write_table(ids, sink)
    named = sink.getvalue()
    sha256, ids_sha256 = hashlib.sha256(data).hexdigest(), hashlib.sha256(named).hexdigest()
    told = Segment(
        file=f"{stem}-{sha256[:16]}.faiss",
        sha256=sha256,
        ids_file=f"{stem}-{ids_sha256[:16]}.ids.parquet",
        ids_sha256=ids_sha256,
        rows=len(vectors),
        kind="ivf" if nprobe else "flat",
        nprobe=nprobe,
    )
    files.write_new(str(folder / told.file), data)
    files.write_new(str(folder / told.ids_file), named)
    return told


def _ivf(**given: Any) -> Any:
    make: Any = faiss.SearchParametersIVF
    return make(**given)


def sample_queries(vectors: Vectors) -> Vectors:
    """Draw queries near and far from the vectors [N, D], the same for the same vectors; L2-normalised, [M, D]."""
    rng = np.random.default_rng(len(vectors))
    near = vectors[rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)]
    noise = rng.standard_normal(near.shape, np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.concatenate([near, FAR * near + math.sqrt(1 - FAR**2) * noise]).astype(np.float32)


def agreement(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Return the mean share of each row of `truth` that its row of `found` holds: recall@k."""
    hits = [len(np.intersect1d(right, had)) for right, had in zip(truth, found, strict=True)]
    return float(np.sum(hits)) / max(1, truth.size)


def _read(path: Path, sha256: str) -> Any:
    check_file(path, sha256)
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:  # FAISS says so of anything it cannot open or read
        if not path.is_file():
            raise FileNotFoundError(path) from error
        raise Corrupt(f"{path}: FAISS cannot read it; run headrace doctor --repair") from error


def _flat(vectors: Vectors) -> Any:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _inverted(vectors: Vectors, recall: float) -> tuple[Any, int]:
    """Train and fill inverted lists; double the lists read until near and far queries find what brute force finds."""
    number = 2 ** int(math.log2(max(1, min(4 * math.sqrt(len(vectors)), len(vectors) / MIN_PER_LIST))))
    index = faiss.index_factory(vectors.shape[1], f"IVF{number},SQfp16", faiss.METRIC_INNER_PRODUCT)
    clustering: Any = index.cp  # type: ignore[attr-defined] # of an IVF index, which its declaration does not say
    clustering.min_points_per_centroid = 1  # few vectors make one list, of which FAISS would warn
    rng = np.random.default_rng(len(vectors))
    index.train(vectors[rng.choice(len(vectors), min(len(vectors), number * TRAIN_PER_LIST), replace=False)])
    index.add(vectors)
    queries = sample_queries(vectors)
    near = len(queries) // 2
    _, truth = faiss.knn(queries, vectors, NEIGHBOURS, metric=faiss.METRIC_INNER_PRODUCT)
    nprobe = min(8, number)
    while True:
        _, found = index.search(queries, NEIGHBOURS, params=_ivf(nprobe=nprobe))
        if (
            nprobe == number
            or min(agreement(truth[:near], found[:near]), agreement(truth[near:], found[near:])) >= recall
        ):
            return index, nprobe
        nprobe = min(2 * nprobe, number)
