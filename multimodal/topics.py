"""Topics: clusters of the text vectors, named by the keywords that set them apart, kept from one run to the next.

Names are by class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794) over the keywords that annotate found.
"""

import io
import json
import zipfile
from collections import Counter
from contextlib import closing
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog import files, sql
from multimodal.pca import FOLDER
from multimodal.points import Points, Vectors, read_points

if TYPE_CHECKING:
    from catalog.home import Home, View

MOST = 24  # topics that `auto` considers
SAMPLE = 2000  # vectors that the silhouette is measured on
WORDS = 3  # of a name
EXAMPLES = 3
ROWS = pa.schema(
    [(name, pa.string()) for name in ("document_id", "name", "url", "model", "revision")]
    + [("topic", pa.int32()), ("similarity", pa.float32()), ("seq", pa.int64())]
)


def find_topics(home: "Home", k: int | None, seed: int, refit: bool) -> dict[str, Any]:
    """Cluster the live documents, or put new ones with the nearest of the stored topics; save and describe them.

    A fit is made anew when asked for, when there is none, when the model or the asked number of topics changed.
    """
    view = home.view()
    points = read_points(view, "text")
    vectors = normalised(points.vectors)
    before = None if refit else _load(home.root / FOLDER / "topics.npz")
    if before is not None and (before["told"]["model"], before["told"]["revision"]) != (points.model, points.revision):
        before = None
    if before is not None and k not in (None, len(before["centroids"])):
        before = None
    centroids = fit_centroids(vectors, k, seed) if before is None else before["centroids"]
    similarity = vectors @ centroids.T
    nearest = similarity.argmax(axis=1)
    names = before["told"]["names"] if before else name_topics(keywords(view), points, nearest, len(centroids))
    told = {"model": points.model, "revision": points.revision, "seed": seed, "names": names,
            "fitted_seq": before["told"]["fitted_seq"] if before else view.seq}  # fmt: skip
    _save(home.root / FOLDER, centroids, told, _rows(points, nearest, similarity, names, view.seq))
    return {
        **{key: told[key] for key in ("model", "revision", "seed", "fitted_seq")}, "seq": view.seq,
        "num_documents": len(points.rows), "refitted": before is None,
        "topics": [_describe(points, nearest, similarity, topic, name) for topic, name in enumerate(names)],
    }  # fmt: skip


def fit_centroids(vectors: Vectors, k: int | None, seed: int) -> Vectors:
    """Return k-means centroids, unit length, largest cluster first; without k, the k of the best silhouette."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    def fitted(number: int) -> "KMeans":
        return KMeans(number, n_init=4, random_state=seed).fit(vectors)

    if k is None:
        candidates = range(2, min(MOST, len(vectors) // 4) + 1)
        sample = np.random.default_rng(seed).permutation(len(vectors))[:SAMPLE]
        scores = {
            number: _silhouette(silhouette_score, vectors[sample], fitted(number).labels_[sample])
            for number in candidates
        }
        k = max(scores, key=lambda number: (scores[number], -number), default=1)
    model = fitted(min(k, len(vectors)))
    sizes = np.bincount(model.labels_, minlength=model.n_clusters)
    order = np.lexsort((np.arange(len(sizes)), -sizes))
    return normalised(np.asarray(model.cluster_centers_[order], np.float32))


def name_topics(keywords: dict[str, list[str]], points: Points, nearest: NDArray[np.int64], number: int) -> list[str]:
    """Name each cluster by its keywords of highest class-based TF-IDF; by a document's title where it has none."""
    counts = [Counter[str]() for _ in range(number)]
    for row, topic in zip(points.rows, nearest, strict=True):
        counts[topic].update(keywords.get(row["id"], ()))
    total = Counter[str]()
    for count in counts:
        total.update(count)
    average = sum(total.values()) / max(1, number)
    names = []
    for topic, count in enumerate(counts):
        weights = {word: times * log(1 + average / total[word]) for word, times in count.items()}
        best = sorted(weights, key=lambda word: (-weights[word], word))[:WORDS]
        title = next((row["title"] for row, own in zip(points.rows, nearest, strict=True) if own == topic), "")
        names.append(", ".join(best) or " ".join(title.split())[:60] or f"topic {topic}")
    return names


def keywords(view: "View") -> dict[str, list[str]]:
    """Return the keywords of every annotated document."""
    with closing(sql.connect(view, {"annotations"})) as db:
        found = db.execute(
            "SELECT subject_id, [topic.label FOR topic IN topics] FROM annotations WHERE subject_kind = 'document'"
        ).fetchall()
    return {document: list(labels or ()) for document, labels in found}


def stored_topics(root: Path) -> dict[str, str]:
    """Return the stored topic of each document, by its name; nothing where none were found yet."""
    path = root / FOLDER / "topics.parquet"
    if not path.is_file():
        return {}
    rows = pq.read_table(path, columns=["document_id", "name"])
    return dict(zip(rows["document_id"].to_pylist(), rows["name"].to_pylist(), strict=True))


def normalised(vectors: Vectors) -> Vectors:
    """Scale vectors to unit length; a zero vector stays one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _silhouette(score: Any, vectors: Vectors, labels: NDArray[np.int32]) -> float:
    return float(score(vectors, labels)) if 1 < len(set(labels.tolist())) < len(labels) else -1.0


def _describe(points: Points, nearest: Any, similarity: Vectors, topic: int, name: str) -> dict[str, Any]:
    members = np.flatnonzero(nearest == topic)
    closest = members[np.argsort(-similarity[members, topic], kind="stable")][:EXAMPLES]
    examples = [{key: points.rows[place][key] for key in ("id", "url", "title")} for place in closest]
    return {"topic": topic, "name": name, "num_documents": len(members), "examples": examples}


def _rows(points: Points, nearest: Any, similarity: Vectors, names: list[str], seq: int) -> pa.Table:
    own = similarity[np.arange(len(nearest)), nearest]
    rows = [
        {
            "document_id": row["id"], "topic": int(topic), "name": names[topic], "similarity": float(score),
            "url": row["url"], "model": points.model, "revision": points.revision, "seq": seq,
        }
        for row, topic, score in zip(points.rows, nearest, own, strict=True)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=ROWS)


def _save(folder: Path, centroids: Vectors, told: dict[str, Any], rows: pa.Table) -> None:
    files.make_folders(folder)
    table, arrays = io.BytesIO(), io.BytesIO()
    pq.write_table(rows, table)
    files.replace(str(folder / "topics.parquet"), table.getvalue())
    np.savez(arrays, centroids=centroids, told=np.frombuffer(json.dumps(told).encode(), np.uint8))
    files.replace(str(folder / "topics.npz"), arrays.getvalue())


def _load(path: Path) -> dict[str, Any] | None:
    """Return the stored centroids and what was told of them; None where there are none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {"centroids": stored["centroids"], "told": json.loads(stored["told"].tobytes())}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
