"""Maps for viewing: live vectors in two dimensions by PCA, t-SNE or UMAP, as a page, a picture or JSON."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from catalog.errors import ConfigError, InputError
from multimodal.map_page import page
from multimodal.pca import project, shares_of, without_variance
from multimodal.points import Kind, Points, Vectors, read_points
from multimodal.topics import stored_topics

if TYPE_CHECKING:
    from catalog.home import Home

Method: TypeAlias = Literal["pca", "tsne", "umap"]
Color: TypeAlias = Literal["language", "source", "topic", "none"]
COMPONENTS = 50  # t-SNE and UMAP start from them, as van der Maaten and Hinton (2008) do
GROUPS = 12  # colours; what is rarer shares the last
MAX_PICTURES = 2000  # thumbnails that a page carries
OTHERS = "other"


def draw(home: "Home", kind: Kind, method: Method, color: Color, limit: int, seed: int) -> dict[str, Any]:
    """Return the points of a map: x, y in -1 … 1, group, title and URL each, and how it was made.

    The same vectors, method and seed give the same map. Raise InputError where there is nothing to draw.
    """
    view = home.view()
    points = read_points(view, kind, limit)
    if len(points.rows) < 3:
        raise InputError(f"{len(points.rows)} {kind} vectors are too few for a map; 3 are needed")
    reduced, told = (
        project(home.root, kind, points, COMPONENTS) if points.num_all == len(points.rows) else _sampled(points)
    )
    flat = _scaled(_flatten(reduced, method, seed))
    groups = _groups(home, points, color)
    return {
        "kind": kind, "method": method, "color": color, "seed": seed, "seq": view.seq, "model": points.model,
        "revision": points.revision, "num_points": len(points.rows), "explained_variance": told["explained_variance"],
        "shares": told["shares"][:2],
        "points": [
            {"x": round(float(x), 4), "y": round(float(y), 4), "group": group, "id": row["id"], "title": row["title"],
             "url": row["url"], "picture": _picture(row) if place < MAX_PICTURES else None}
            for place, ((x, y), group, row) in enumerate(zip(flat, groups, points.rows, strict=True))
        ],
    }  # fmt: skip


def write_map(made: dict[str, Any], output: Path) -> None:
    """Write a map as its file's ending says: .html, .png or .json; ConfigError for another."""
    if output.suffix == ".json":
        output.write_text(json.dumps(made, ensure_ascii=False) + "\n", encoding="utf-8")
    elif output.suffix == ".html":
        output.write_text(page(made), encoding="utf-8")
    elif output.suffix == ".png":
        _write_png(made, output)
    else:
        raise ConfigError(f"--output {output}: a map is written as .html, .png or .json")


def _sampled(points: Points) -> tuple[Vectors, dict[str, Any]]:
    """Reduce a sample by components of its own: those of all vectors are fitted by `headrace map fit`."""
    from sklearn.decomposition import PCA

    with without_variance():
        pca = PCA(min(COMPONENTS, *points.vectors.shape), svd_solver="full").fit(points.vectors)
    shares = shares_of(pca)
    return np.asarray(pca.transform(points.vectors), np.float32), {"explained_variance": sum(shares), "shares": shares}


def _flatten(vectors: Vectors, method: Method, seed: int) -> Vectors:
    if method == "pca" or vectors.shape[1] < 2:
        return np.pad(vectors[:, :2], ((0, 0), (0, max(0, 2 - vectors.shape[1]))))
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(vectors) - 1) / 3)
        return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors), np.float32)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ConfigError("--method umap needs the extra maps: pip install 'headrace[maps]'") from error
    neighbours = min(15, len(vectors) - 1)
    start = "pca" if len(vectors) <= neighbours + 2 else "spectral"
    model = UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(vectors), np.float32)


def _scaled(flat: Vectors) -> Vectors:
    """Move and scale both axes alike into -1 … 1."""
    centred = flat - (flat.max(axis=0) + flat.min(axis=0)) / 2
    return np.asarray(centred / max(float(np.abs(centred).max()), 1e-12), np.float32)


def _groups(home: "Home", points: Points, color: Color) -> list[str]:
    """Name each point's group; the rarest groups become one."""
    if color == "none":
        return [""] * len(points.rows)
    topics = stored_topics(home.root) if color == "topic" else {}
    if color == "topic" and not topics:
        raise InputError("no topics here yet; run headrace topics first")
    names = [str((topics.get(row["id"]) if color == "topic" else row[color]) or "unknown") for row in points.rows]
    counted = {name: names.count(name) for name in set(names)}
    kept = sorted(counted, key=lambda name: (-counted[name], name))[:GROUPS]
    return [name if name in kept or len(counted) <= GROUPS else OTHERS for name in names]


def _picture(row: dict[str, Any]) -> str | None:
    return base64.b64encode(row["picture"]).decode() if row["picture"] else None


def _write_png(made: dict[str, Any], output: Path) -> None:
    try:
        import matplotlib as mpl
        from matplotlib import font_manager
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(f"--output {output.name} needs the extra maps: pip install 'headrace[maps]'") from error
    known = {font.name for font in font_manager.fontManager.ttflist}
    chinese = [name for name in ("Noto Sans CJK SC", "WenQuanYi Zen Hei", "AR PL UMing CN") if name in known]
    with mpl.rc_context({"font.sans-serif": ["DejaVu Sans", *chinese], "svg.hashsalt": "headrace"}):
        figure = Figure(figsize=(10, 8), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        groups = sorted({point["group"] for point in made["points"]})
        for place, group in enumerate(groups):
            own = [point for point in made["points"] if point["group"] == group]
            axes.scatter(
                [p["x"] for p in own], [p["y"] for p in own], s=12, alpha=0.7, label=group or None, color=f"C{place}"
            )
        axes.set_title(f"{made['num_points']} {made['kind']} vectors of {made['model']}, {made['method']}")
        axes.set_xticks([])
        axes.set_yticks([])
        if any(groups):
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
        figure.savefig(output, metadata={"Software": None})
