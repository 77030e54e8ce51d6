"""Principal components of live vectors, fitted as batches come (Ross et al. 2008, 10.1007/s11263-007-0075-7)."""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalog import files
from catalog.ids import make_id
from multimodal.points import Kind, Points, Vectors, chunks

if TYPE_CHECKING:
    from sklearn.decomposition import PCA, IncrementalPCA

FOLDER = "derived"
ARRAYS = ("components_", "mean_", "var_", "singular_values_", "explained_variance_", "explained_variance_ratio_")


def fit(root: Path, kind: Kind, points: Points, components: int) -> dict[str, Any]:
    """Add the vectors of batches that the stored fit has not seen, or fit anew if it has seen what is gone; save it.

    The result tells the model, what was added, and each component's share of the variance.
    """
    path = root / FOLDER / f"pca-{make_id(kind, points.model, points.revision)}.npz"
    wanted = min(components, *points.vectors.shape)
    by_batch: dict[str, list[int]] = {}
    for place, row in enumerate(points.rows):
        by_batch.setdefault(row["batch"], []).append(place)
    before = _load(path)
    if before is not None:
        pca, held = before
        seen = sum(len(places) for batch, places in by_batch.items() if batch in held)
        if pca.n_components != wanted or not held <= by_batch.keys() or seen != pca.n_samples_seen_:
            before = None
    pca, held = before or (_new(wanted), frozenset())
    fresh = [place for batch in by_batch if batch not in held for place in by_batch[batch]]
    _add(pca, points.vectors[fresh], wanted)
    if fresh:
        _save(path, pca, sorted(by_batch))
    shares = shares_of(pca)
    return {
        "kind": kind, "model": points.model, "revision": points.revision, "num_vectors": int(pca.n_samples_seen_),
        "added": len(fresh), "refitted": before is None, "num_batches": len(by_batch), "num_components": wanted,
        "explained_variance": sum(shares), "shares": shares, "file": str(path),
    }  # fmt: skip


def project(root: Path, kind: Kind, points: Points, components: int) -> tuple[Vectors, dict[str, Any]]:
    """Fit what is new, and return the vectors' first components, float32 [N, components], with what `fit` says."""
    told = fit(root, kind, points, components)
    loaded = _load(Path(told["file"]))
    assert loaded is not None
    return np.asarray(loaded[0].transform(points.vectors), np.float32), told


def shares_of(pca: "IncrementalPCA | PCA") -> list[float]:
    """Return each component's share of the variance; of vectors that are all equal nothing."""
    return [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]


def without_variance() -> np.errstate:
    """Let equal vectors pass: their shares of no variance are divided by zero."""
    return np.errstate(invalid="ignore", divide="ignore")


def _new(components: int) -> "IncrementalPCA":
    from sklearn.decomposition import IncrementalPCA

    return IncrementalPCA(n_components=components)


def _add(pca: "IncrementalPCA", vectors: Vectors, components: int) -> None:
    """Fit in runs; the last takes in what would be too few for a run of its own."""
    runs = list(chunks(vectors))
    if len(runs) > 1 and len(runs[-1]) < components:
        runs[-2:] = [np.concatenate(runs[-2:])]
    with without_variance():
        for run in runs:
            pca.partial_fit(run)


def _save(path: Path, pca: "IncrementalPCA", batches: list[str]) -> None:
    told = {"batches": batches, "n_components": int(pca.n_components), "n_samples_seen": int(pca.n_samples_seen_),
            "noise_variance": float(pca.noise_variance_)}  # fmt: skip
    buffer = io.BytesIO()
    np.savez(
        buffer, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **{name: getattr(pca, name) for name in ARRAYS}
    )
    files.make_folders(path.parent)
    files.replace(str(path), buffer.getvalue())


def _load(path: Path) -> "tuple[IncrementalPCA, frozenset[str]] | None":
    """Return the stored fit and its batches; None where there is none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            told = json.loads(stored["told"].tobytes())
            pca = _new(told["n_components"])
            for name in ARRAYS:
                setattr(pca, name, stored[name])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    pca.n_components_ = told["n_components"]
    pca.n_samples_seen_ = np.int64(told["n_samples_seen"])
    pca.noise_variance_ = told["noise_variance"]
    pca.batch_size_ = None
    return pca, frozenset(told["batches"])
