"""Records whose vectors are close, among those of one table: the vector indexes name them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog import schema
from catalog.home import View
from catalog.settings import VectorSettings

NEIGHBOURS = 16  # looked at for each record; of those that were set aside, what stands for them is looked at too
Keepers = Callable[[Collection[str]], Mapping[str, Collection[str]]]


@dataclass(frozen=True)
class Near:
    """Two records and the cosine of their vectors of one model."""

    one: str
    other: str
    score: float
    model: str
    revision: str


class Neighbours:
    """Finds close records in one feature table of a home."""

    def __init__(self, root: Path, view: View, settings: VectorSettings, table: str) -> None:
        self._folder, self._view, self._settings = root / "indexes", view, settings
        self._table, self._row_id = table, schema.ROW_ID[table]

    def near(self, ids: Collection[str], at_least: float, keepers: Keepers) -> Iterator[Near]:
        """Yield the pairs of some records and others with at least this cosine, a pair perhaps both ways.

        Of a neighbour that was set aside, the `keepers` are compared as well: many copies of one record would else hide
        it from the next copy. Records without a vector have no neighbours.
        """
        rows = self._vectors(ids)
        models = zip(rows["model"].to_pylist(), rows["revision"].to_pylist(), strict=True)
        for model, revision in sorted(set(models)):
            ours = rows.filter(pc.and_(pc.equal(rows["model"], model), pc.equal(rows["revision"], revision)))
            for one, other, score in self._of_model(ours, (model, revision), at_least, keepers):
                yield Near(one, other, round(min(score, 1.0), 6), model, revision)

    def _of_model(
        self, rows: pa.Table, made_by: tuple[str, str], at_least: float, keepers: Keepers
    ) -> Iterator[tuple[str, str, float]]:
        from catalog.vectors import VectorIndex  # faiss stays unloaded where there are no vectors

        index = VectorIndex(self._folder, self._table, *made_by, self._settings)
        index.refresh(self._view)
        names = rows[self._row_id].to_numpy()
        vectors = _matrix(rows)
        asked, found, scores = index.pairs(vectors, NEIGHBOURS, at_least)
        others = names[asked] != found
        asked, found, scores = asked[others], found[others], scores[others]
        yield from zip(names[asked].tolist(), found.tolist(), scores.tolist(), strict=True)
        standing = keepers(set(found.tolist()))
        further = {
            (one, keeper)
            for one, other in zip(asked.tolist(), found.tolist(), strict=True)
            for keeper in standing.get(other, ())
        }
        kept = self._vectors({keeper for _, keeper in further})
        kept = kept.filter(pc.and_(pc.equal(kept["model"], made_by[0]), pc.equal(kept["revision"], made_by[1])))
        known = dict(zip(kept[self._row_id].to_pylist(), _matrix(kept), strict=True))
        for one, keeper in sorted(further):
            if keeper in known and (score := float(vectors[one] @ known[keeper])) >= at_least:
                yield names[one], keeper, score

    def _vectors(self, ids: Collection[str]) -> pa.Table:
        """Look up vectors, each record's once for each model."""
        columns = [self._row_id, "model", "revision", "vector"]
        rows = self._view.lookup(self._table, self._row_id, ids, columns)
        rows = rows.filter(pc.is_valid(rows["vector"]))
        keys = rows.select(columns[:3]).append_column("row", pa.array(np.arange(rows.num_rows)))
        first = keys.group_by(columns[:3], use_threads=False).aggregate([("row", "min")])
        return rows.take(first["row_min"]).sort_by(self._row_id)


def _matrix(rows: pa.Table) -> Any:
    if not rows.num_rows:
        return np.empty((0, 0), np.float32)
    return np.asarray(rows["vector"].combine_chunks().flatten().to_numpy(), np.float32).reshape(rows.num_rows, -1)
