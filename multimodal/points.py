"""The live, current vectors of one kind and model, with what a map or a list of topics says about each."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog import sql
from catalog.errors import InputError

if TYPE_CHECKING:
    from catalog.home import View

Kind: TypeAlias = Literal["text", "image", "audio"]
Vectors: TypeAlias = NDArray[np.float32]
CHUNK = 8192

# Of records that were crawled again or decided to be duplicates only the kept one is there; each has one row, a film
# that of its first frame, a file of several addresses that of the first.
QUERIES: dict[Kind, tuple[frozenset[str], str]] = {
    "text": (
        frozenset({"text_features", "current_documents"}),
        """SELECT document_id AS id, vector, model, revision, text_features.batch_id AS batch, url, language, source,
        coalesce(nullif(title, ''), left(text, 120)) AS title, NULL::BLOB AS picture,
        NULL::DOUBLE AS frame_time
        FROM text_features JOIN current_documents USING (document_id)""",
    ),
    "image": (
        frozenset({"image_features", "media", "thumbnails", "discarded"}),
        """SELECT seen.media_id AS id, vector, model, revision, seen.batch_id AS batch, url, NULL AS language,
        regexp_extract(url, '^[a-z]+://([^/]+)', 1) AS source, coalesce(caption, tags[1].label, url) AS title,
        webp AS picture, frame_time
        FROM image_features AS seen JOIN media ON media.media_id = seen.media_id
        LEFT JOIN thumbnails ON thumbnails.media_id = seen.media_id AND thumbnails.batch_id = seen.batch_id
        ANTI JOIN discarded ON record_id = seen.media_id AND record_batch = media.batch_id""",
    ),
    "audio": (
        frozenset({"audio_states", "media", "transcripts", "discarded"}),
        """SELECT heard.media_id AS id, data AS vector, heard.model, heard.revision, heard.batch_id AS batch, url,
        language, regexp_extract(url, '^[a-z]+://([^/]+)', 1) AS source,
        coalesce(nullif(left(text, 120), ''), url) AS title, NULL::BLOB AS picture, shape, NULL::DOUBLE AS frame_time
        FROM audio_states AS heard JOIN media ON media.media_id = heard.media_id
        LEFT JOIN transcripts ON transcripts.media_id = heard.media_id AND transcripts.batch_id = heard.batch_id
        ANTI JOIN discarded ON record_id = heard.media_id AND record_batch = media.batch_id""",
    ),
}
MAKERS: dict[Kind, str] = {"text": "embed", "image": "embed", "audio": "transcribe"}


@dataclass(frozen=True)
class Points:
    """Vectors, float32 [N, D], and a dictionary for each: id, batch, url, language, source, title, picture."""

    vectors: Vectors
    rows: list[dict[str, Any]]
    model: str
    revision: str
    num_all: int  # of which these may be a sample


def read_points(view: "View", kind: Kind, limit: int | None = None) -> Points:
    """Read the newest model's vectors in order of id; of more than `limit` those whose hashed ids come first.

    Raise InputError where there are none.
    """
    needed, statement = QUERIES[kind]
    with closing(sql.connect(view, needed)) as db:
        newest = db.execute(
            f"SELECT model, revision FROM ({statement}) JOIN live ON live.batch_id = batch "  # noqa: S608 — our own text
            "GROUP BY ALL ORDER BY max(seq) DESC, count(*) DESC, model, revision LIMIT 1"
        ).fetchall()
        if not newest:
            raise InputError(f"no {kind} vectors here yet; run the {MAKERS[kind]} stage first")
        cut = "" if limit is None else f"ORDER BY md5(id), id LIMIT {int(limit)}"
        found: Any = db.sql(
            f"SELECT * FROM (SELECT *, count(*) OVER () AS num_all FROM (SELECT * FROM ({statement}) "  # noqa: S608
            "WHERE model = ? AND revision = ? AND vector IS NOT NULL "
            f"QUALIFY row_number() OVER (PARTITION BY id ORDER BY batch, frame_time, url) = 1) {cut}) ORDER BY id",
            params=newest[0],
        ).to_arrow_table()
    rows = found.drop_columns(["vector", "model", "revision", "frame_time", "num_all"]).to_pylist()
    model, revision = newest[0]
    return Points(_vectors(found, rows), rows, model, revision, found["num_all"][0].as_py() if rows else 0)


def chunks(vectors: Vectors, size: int = CHUNK) -> Iterator[Vectors]:
    """Cut vectors into runs of at most `size`."""
    return (vectors[first : first + size] for first in range(0, len(vectors), size))


def _vectors(found: Any, rows: list[dict[str, Any]]) -> Vectors:
    """Stack the vectors; the mean over time of a recording's states (binary, fp16) is its vector."""
    if not rows:
        return np.zeros((0, 0), np.float32)
    column = found["vector"].combine_chunks()
    if "shape" not in rows[0]:
        return np.asarray(column.flatten().to_numpy(), np.float32).reshape(len(rows), -1)
    states = (
        np.frombuffer(data.as_py(), np.float16).reshape(row["shape"]) for data, row in zip(column, rows, strict=True)
    )
    return np.stack([state.astype(np.float32).mean(axis=0) for state in states])
