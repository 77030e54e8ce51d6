"""Vector indexes: FAISS as a consumer of one feature table, in immutable segments beside a manifest of its batches."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from catalog import files, schema
from catalog.errors import Corrupt
from catalog.home import View
from catalog.ids import make_id
from catalog.settings import VectorSettings
from catalog.vector_manifest import FOLDER, Manifest
from catalog.vector_segments import IDS, NEIGHBOURS, SAMPLE, OpenSegment, Vectors, sample_queries, write_segment

GROWTH = 4  # a segment is merged into the one before it unless that is this many times as large
RERANKED = 4  # candidates per hit that are scored again with the vectors of the table, where the index rounds them
BLOCK = 50_000  # vectors read at once where recall is measured by brute force
RECALL_SECONDS = 20.0  # for that, of one index
FEWEST = 16  # queries that it is measured with at least

DEFAULT = VectorSettings()
Exact = Callable[[Sequence[str]], dict[str, Vectors]]


class VectorIndex:
    """Inner-product search over the live vectors of one model in one table."""

    def __init__(self, folder: Path, table: str, model: str, revision: str, settings: VectorSettings = DEFAULT) -> None:
        self._folder = folder / FOLDER
        self._name = make_id(table, model, revision)
        self._settings = settings
        self._manifest = Manifest(table, model, revision, 0, (), ())
        self._segments: tuple[OpenSegment, ...] = ()
        self._reload()

    @property
    def batches(self) -> frozenset[str]:
        """The batches whose vectors are in the index."""
        return frozenset(self._manifest.batches)

    def __len__(self) -> int:
        return sum(segment.told.rows for segment in self._segments)

    def refresh(self, view: View) -> bool:
        """Add live batches that are not held, drop held ones that are not live, save; tell whether anything changed."""
        live = {row.batch_id for row in view.state.live.values() if row.outputs.get(self._manifest.table)}
        before = self._manifest
        self._reload()  # a takedown by another process changes vectors, not batches
        if live == self.batches:
            return self._manifest != before
        files.make_folders(self._folder)
        with FileLock(self._folder / f"{self._name}.lock"):
            self._reload()
            gone = pa.array(sorted(self.batches - live), pa.string())
            kept = self._without("batch_id", gone) if len(gone) else list(self._segments)
            vectors, ids = self._read_new(view, live - self.batches)
            if len(vectors):
                kept.append(self._write(vectors, ids))
            self._save(self._merged(kept), live)
        return True

    def forget(self, ids: Iterable[str]) -> int:
        """Take vectors out for good, the bytes of their files too; return how many there were."""
        if not self._segments:
            return 0
        with FileLock(self._folder / f"{self._name}.lock"):
            self._reload()
            before = len(self)
            self._save(self._without("id", pa.array(sorted(set(ids)), pa.string())), self.batches)
        return before - len(self)

    def search(
        self, queries: Vectors, k: int, allowed: pa.Array | None = None, exact: Exact | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return, for each query [N, dimension], up to k (id, inner product), best first.

        `allowed` are the only ids that may be found. `exact` returns stored vectors by id: hits of an index that
        rounds them are scored again with these.
        """
        queries = self._fitting(queries)
        rounded = exact is not None and any(segment.told.kind == "ivf" for segment in self._segments)
        names, scores = self._candidates(queries, k * RERANKED if rounded else k, allowed)
        if rounded and exact:
            scores = _scored_again(names, scores, queries, exact)
        return _ranked(names, scores, k)

    def _candidates(
        self, queries: Vectors, k: int, allowed: pa.Array | None
    ) -> tuple[NDArray[np.object_], NDArray[np.floating[Any]]]:
        """Return the ids and scores of the k best of each segment, [N, M] each; where there are fewer, -inf."""
        names, scores = [np.empty((len(queries), 0), object)], [np.empty((len(queries), 0), np.float32)]
        for segment in self._segments:
            mask = None if allowed is None else _mask(segment, allowed)
            scored, positions = segment.search(queries, k, mask)
            names.append(segment.names[positions])
            scores.append(np.where(positions >= 0, scored, -np.inf))
        return np.hstack(names), np.hstack(scores)

    def pairs(
        self, queries: Vectors, k: int, at_least: float
    ) -> tuple[NDArray[np.int64], NDArray[np.object_], Vectors]:
        """Return which queries [N, dimension] meet which ids of a segment's k best, with scores of `at_least` and more.

        The three arrays run in parallel; inverted lists round scores to float16.
        """
        queries = self._fitting(queries)
        found: list[tuple[NDArray[np.int64], NDArray[np.object_], Vectors]] = []
        for segment in self._segments:
            scores, positions = segment.search(queries, k, None)
            asked, rank = np.nonzero((scores >= at_least) & (positions >= 0))
            found.append((asked, segment.names[positions[asked, rank]], scores[asked, rank]))
        nothing = np.empty(0, np.int64), np.empty(0, object), np.empty(0, np.float32)
        one, other, score = zip(nothing, *found, strict=True)
        return np.concatenate(one), np.concatenate(other), np.concatenate(score)

    def _fitting(self, queries: Vectors) -> Vectors:
        """Return queries as FAISS takes them; raise Corrupt if they are of another dimension than what is held."""
        if self._segments and queries.shape[1] != self._manifest.dimension:
            raise Corrupt(
                f"index of {self._manifest.table} has dimension {self._manifest.dimension}, the query "
                f"{queries.shape[1]}: the model changed under the same name; run headrace doctor --repair"
            )
        return np.ascontiguousarray(queries, np.float32)

    def stored(self, view: View) -> Exact:
        """Return a function that reads our model's vectors of some ids from the table, as they were published."""

        def exact(ids: Sequence[str]) -> dict[str, Vectors]:
            row_id = schema.ROW_ID[self._manifest.table]
            rows = view.lookup(self._manifest.table, row_id, ids, [row_id, "vector", "model", "revision"]).to_pylist()
            ours = (self._manifest.model, self._manifest.revision)
            return {
                row[row_id]: np.asarray(row["vector"], np.float32)
                for row in rows
                if (row["model"], row["revision"]) == ours
            }

        return exact

    def recall(self, view: View, seconds: float = RECALL_SECONDS) -> float | None:
        """Return the recall@10 against brute force over the table's own vectors; None where there is nothing.

        Near and far queries are drawn from a sample, fewer where all of them would take longer than `seconds`. Hits are
        not scored again with stored vectors, which `search` may do: it finds no less than this.
        """
        if not len(self):
            return None
        queries = sample_queries(self._sample())
        queries = queries[np.random.default_rng(0).permutation(len(queries))]
        truth = self._best(view, queries, seconds)
        found = self.search(queries[: len(truth)], NEIGHBOURS)
        hits = [len(set(right) & {name for name, _ in had}) for right, had in zip(truth, found, strict=True)]
        return sum(hits) / max(1, sum(map(len, truth)))

    def _sample(self) -> Vectors:
        """Draw some of the vectors that are held, the same ones each time."""
        drawn = np.sort(np.random.default_rng(len(self)).choice(len(self), min(SAMPLE, len(self)), replace=False))
        pieces, start = [], 0
        for segment in self._segments:
            here = drawn[(drawn >= start) & (drawn < start + segment.told.rows)] - start
            pieces.append(segment.vectors(here.astype(np.int64)))
            start += segment.told.rows
        return np.concatenate(pieces)

    def _best(self, view: View, queries: Vectors, seconds: float) -> list[list[str]]:
        """Find the nearest ids of the first queries, as many as there is time for, by comparing all vectors."""
        total, done, started = len(self), 0, time.monotonic()
        scores = np.empty((len(queries), 0), np.float32)
        names = np.empty((len(queries), 0), object)
        for vectors, ids in self._read_all(view):
            most = min(2 * NEIGHBOURS, len(vectors))  # an id may stand there twice
            new, places = faiss.knn(queries, vectors, most, metric=faiss.METRIC_INNER_PRODUCT)
            scores = np.concatenate([scores, new], axis=1)
            names = np.concatenate([names, ids[places]], axis=1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, : 2 * NEIGHBOURS]
            scores, names = np.take_along_axis(scores, best, 1), np.take_along_axis(names, best, 1)
            done += len(vectors)
            expected = (time.monotonic() - started) * total / done
            fit = max(FEWEST, int(len(queries) * min(1.0, seconds / max(expected, 1e-9))))
            queries, scores, names = queries[:fit], scores[:fit], names[:fit]
        return [list(dict.fromkeys(row))[:NEIGHBOURS] for row in names.tolist()]

    def _read_all(self, view: View) -> Iterator[tuple[Vectors, NDArray[np.object_]]]:
        """Read the vectors of the batches that are held, some at a time, with their ids."""
        sizes = {batch: view.state.published[batch].outputs.get(self._manifest.table, 0) for batch in self.batches}
        chunk: list[str] = []
        for batch in sorted(sizes):
            chunk.append(batch)
            if sum(sizes[one] for one in chunk) >= BLOCK or batch == max(sizes):
                vectors, ids = self._read_new(view, set(chunk))
                for start in range(0, len(vectors), BLOCK):
                    rows = slice(start, start + BLOCK)
                    yield vectors[rows], np.asarray(ids["id"].to_numpy(zero_copy_only=False), object)[rows]
                chunk = []

    def _read_new(self, view: View, batches: set[str]) -> tuple[Vectors, pa.Table]:
        """Read the vectors of our model, sorted by id: the same rows make the same segment."""
        row_id = schema.ROW_ID[self._manifest.table]
        rows = view.read(self._manifest.table, [row_id, "vector", "batch_id", "model", "revision"], batches)
        ours = pa.compute.and_(
            pa.compute.equal(rows["model"], self._manifest.model),
            pa.compute.equal(rows["revision"], self._manifest.revision),
        )
        rows = rows.filter(pa.compute.and_(ours, pa.compute.is_valid(rows["vector"]))).sort_by(row_id)
        flat = rows["vector"].combine_chunks().flatten() if rows.num_rows else pa.array([], pa.float32())
        vectors = np.asarray(flat.to_numpy(), np.float32).reshape(rows.num_rows, -1 if rows.num_rows else 0)
        return vectors, pa.table({"id": rows[row_id], "batch_id": rows["batch_id"]}, schema=IDS)

    def _without(self, column: str, values: pa.Array) -> list[OpenSegment]:
        """Return the segments with some rows taken out; those that held none stay as they are."""
        kept = []
        for segment in self._segments:
            gone = pa.compute.is_in(segment.ids[column], values).to_numpy()
            if not gone.any():
                kept.append(segment)
            elif not gone.all():
                positions = np.flatnonzero(~gone).astype(np.int64)
                kept.append(self._write(segment.vectors(positions), segment.ids.take(positions)))
        return kept

    def _merged(self, segments: list[OpenSegment]) -> list[OpenSegment]:
        """Merge small segments into their predecessors: there are few then, and a vector moves only a few times."""
        while len(segments) > 1 and segments[-2].told.rows < GROWTH * segments[-1].told.rows:
            last, before = segments.pop(), segments.pop()
            vectors = np.concatenate([before.vectors(), last.vectors()])
            segments.append(self._write(vectors, pa.concat_tables([before.ids, last.ids])))
        return segments

    def _write(self, vectors: Vectors, ids: pa.Table) -> OpenSegment:
        told = write_segment(self._folder, self._name, vectors, ids, self._settings.flat_max, self._settings.recall)
        return OpenSegment(self._folder, told)

    def _reload(self) -> None:
        """Take over what the manifest on disk names; another process may be replacing it and its files."""
        path = self._folder / f"{self._name}.json"
        before = None
        while path.is_file():
            manifest = Manifest.decode(path)
            if manifest is None:
                return
            held = {segment.told: segment for segment in self._segments}
            try:
                self._segments = tuple(held.get(told) or OpenSegment(self._folder, told) for told in manifest.segments)
                self._manifest = manifest
                return
            except FileNotFoundError as error:
                if manifest == before:
                    raise Corrupt(f"{error.filename} is missing; run headrace doctor --repair") from error
                before = manifest

    def _save(self, segments: Sequence[OpenSegment], batches: Iterable[str]) -> None:
        manifest = replace(
            self._manifest,
            dimension=segments[0].dimension if segments else 0,
            batches=tuple(sorted(batches)),
            segments=tuple(segment.told for segment in segments),
        )
        files.replace(str(self._folder / f"{self._name}.json"), manifest.encode())
        self._manifest, self._segments = manifest, tuple(segments)
        named = {name for told in manifest.segments for name in (told.file, told.ids_file)}
        for path in self._folder.glob(f"{self._name}-*"):  # what a killed writer left too: the lock is ours
            if path.name not in named:
                path.unlink(missing_ok=True)


def _scored_again(
    names: NDArray[np.object_], scores: NDArray[np.floating[Any]], queries: Vectors, exact: Exact
) -> NDArray[np.floating[Any]]:
    """Score candidates with the vectors that were published, where they still stand."""
    there = np.isfinite(scores)
    stored = exact(sorted(set(names[there])))
    again = scores.astype(np.float64)
    for row, column in zip(*np.nonzero(there), strict=True):
        vector = stored.get(names[row, column])
        if vector is not None:
            again[row, column] = queries[row] @ vector
    return again


def _ranked(names: NDArray[np.object_], scores: NDArray[np.floating[Any]], k: int) -> list[list[tuple[str, float]]]:
    """Return each row's k best ids with their scores, each id once; of equal scores the smaller id first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, 1)
    found = []
    tied = (np.diff(scores, axis=1) == 0).any(axis=1)
    for said, scored, equal in zip(np.take_along_axis(names, order, 1).tolist(), scores.tolist(), tied, strict=True):
        pairs = [(name, score) for name, score in zip(said, scored, strict=True) if score > -np.inf]
        if equal:
            pairs.sort(key=lambda pair: (-pair[1], pair[0]))
        once: dict[str, float] = {}
        for name, score in pairs:
            once.setdefault(name, score)
        found.append(list(once.items())[:k])
    return found


def _mask(segment: OpenSegment, allowed: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pa.compute.is_in(segment.ids["id"], allowed).to_numpy())
