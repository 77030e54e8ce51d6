"""Vector indexes: FAISS as a consumer of one feature table, saved whole and beside a manifest of the batches held."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog import files, schema
from catalog.errors import Corrupt
from catalog.home import View
from catalog.ids import make_id

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Manifest:
    """What an index file holds; written last, so index and manifest never disagree."""

    table: str
    model: str
    revision: str
    dimension: int
    batches: tuple[str, ...]
    next_number: int
    file: str
    sha256: str
    ids_file: str


class VectorIndex:
    """Inner-product search over the live vectors of one model in one table."""

    def __init__(self, folder: Path, table: str, model: str, revision: str) -> None:
        self._folder = folder / "vectors"
        self._name = make_id(table, model, revision)
        self._table, self._model, self._revision = table, model, revision
        self._next = 0  # numbers are never reused, so an id that left the index cannot come back as another
        self._manifest: Manifest | None = None
        while True:
            before: Manifest | None = self._manifest
            self._manifest = self._load_manifest()
            try:
                self._index, self._ids = self._load()
                break
            except (Corrupt, FileNotFoundError):  # another process may just have replaced manifest and files
                if self._manifest == before:
                    raise

    @property
    def batches(self) -> frozenset[str]:
        """The batches whose vectors are in the index."""
        return frozenset(self._manifest.batches) if self._manifest else frozenset()

    def __len__(self) -> int:
        return int(self._index.ntotal) if self._index is not None else 0

    def refresh(self, view: View) -> bool:
        """Add live batches that are not held, drop held ones that are not live, save; tell whether anything changed."""
        row_id = schema.ROW_ID[self._table]
        live = {row.batch_id for row in view.state.live.values() if row.outputs.get(self._table)}
        add, drop = live - self.batches, self.batches - live
        if not add and not drop:
            return False
        rows = view.read(self._table, [row_id, "vector", "batch_id", "model", "revision"], add)
        ours = pa.compute.and_(
            pa.compute.equal(rows["model"], self._model), pa.compute.equal(rows["revision"], self._revision)
        )
        rows = rows.filter(pa.compute.and_(ours, pa.compute.is_valid(rows["vector"]))).sort_by(row_id)
        self._drop(drop)
        self._add(rows.rename_columns(["id", "vector", "batch_id", "model", "revision"]))
        self._save(sorted(live))
        return True

    def search(self, queries: Vectors, k: int) -> list[list[tuple[str, float]]]:
        """Return, for each query [n, dimension], up to k (id, inner product), best first."""
        if self._index is None or self._index.ntotal == 0:
            return [[] for _ in queries]
        if queries.shape[1] != self._index.d:
            raise Corrupt(
                f"index of {self._table} has dimension {self._index.d}, the query {queries.shape[1]}: "
                "the model changed under the same name; run headrace doctor --repair"
            )
        scores, numbers = self._index.search(np.ascontiguousarray(queries, np.float32), min(k, self._index.ntotal))
        names = dict(zip(self._ids["number"].to_pylist(), self._ids["id"].to_pylist(), strict=True))
        return [
            [(names[number], float(score)) for number, score in zip(row, scored, strict=True) if number >= 0]
            for row, scored in zip(numbers.tolist(), scores.tolist(), strict=True)
        ]

    def _add(self, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        vectors = np.stack(rows["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
        if self._index is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        start = self._next
        numbers = np.arange(start, start + len(vectors), dtype=np.int64)
        self._index.add_with_ids(vectors, numbers)
        added = pa.table({"number": numbers, "id": rows["id"], "batch_id": rows["batch_id"]}, schema=_IDS)
        self._ids = pa.concat_tables([self._ids, added])
        self._next = start + len(vectors)

    def _drop(self, batches: frozenset[str]) -> None:
        gone = pa.compute.is_in(self._ids["batch_id"], pa.array(sorted(batches), pa.string()))
        numbers = self._ids.filter(gone)["number"].to_numpy()
        if len(numbers) and self._index is not None:
            self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(numbers, np.int64)))
        self._ids = self._ids.filter(pa.compute.invert(gone))

    def _load_manifest(self) -> Manifest | None:
        path = self._folder / f"{self._name}.json"
        if not path.is_file():
            return None
        given = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{**given, "batches": tuple(given["batches"])})

    def _load(self) -> tuple[faiss.Index | None, pa.Table]:
        if self._manifest is None:
            return None, _IDS.empty_table()
        path = self._folder / self._manifest.file
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != self._manifest.sha256:
            raise Corrupt(f"{path} does not match its manifest; run headrace doctor --repair")
        self._next = self._manifest.next_number
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8)) if data else None
        return index, pq.read_table(self._folder / self._manifest.ids_file)

    def _save(self, batches: Sequence[str]) -> None:
        data = faiss.serialize_index(self._index).tobytes() if self._index is not None else b""
        sink = pa.BufferOutputStream()
        pq.write_table(self._ids, sink)
        ids = sink.getvalue().to_pybytes()
        sha256 = hashlib.sha256(data).hexdigest()
        old = self._manifest
        manifest = Manifest(
            table=self._table,
            model=self._model,
            revision=self._revision,
            dimension=int(self._index.d) if self._index is not None else 0,
            batches=tuple(batches),
            next_number=self._next,
            file=f"{self._name}-{sha256[:16]}.faiss",
            sha256=sha256,
            ids_file=f"{self._name}-{hashlib.sha256(ids).hexdigest()[:16]}.ids.parquet",
        )
        files.write_new(str(self._folder / manifest.file), data)
        files.write_new(str(self._folder / manifest.ids_file), ids)
        files.replace(str(self._folder / f"{self._name}.json"), json.dumps(asdict(manifest)).encode())
        self._manifest = manifest
        for name in {old.file, old.ids_file} - {manifest.file, manifest.ids_file} if old else ():
            (self._folder / name).unlink(missing_ok=True)


_IDS = pa.schema([("number", pa.int64()), ("id", pa.string()), ("batch_id", pa.string())])
