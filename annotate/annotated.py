"""The current texts of a home with what annotation says of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog.home import View

TABLES = {"annotations", "current_documents", "transcripts"}
ROWS = 256
QUERY = """
    WITH texts AS (
        SELECT document_id AS subject_id, url, language, text FROM current_documents
        UNION ALL SELECT media_id, NULL, language, text FROM transcripts
    )
    SELECT subject_id, subject_kind, url, language, text, entities, relations, annotator, version
    FROM annotations JOIN live USING (batch_id) JOIN texts USING (subject_id)
    QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY seq DESC) = 1
    ORDER BY subject_id"""


def annotated(view: "View") -> Iterator[dict[str, Any]]:
    """Yield the newest annotation of every current document and of every transcript with its text, ordered by id."""
    from catalog import sql

    with sql.connect(view, TABLES) as db, sql.reading("annotations"):
        for batch in db.sql(QUERY).to_arrow_reader(ROWS):
            yield from batch.to_pylist()
