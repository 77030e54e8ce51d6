"""What an extract batch offers to embed and transcribe: its rows, without those that need no work."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from catalog import pipeline
from catalog.home import Batch, Input, Plan
from catalog.settings import Config
from catalog.stage import Stage

if TYPE_CHECKING:
    from catalog.home import View

MEDIA = ["media_id", "url", "kind", "warc_path", "warc_offset", "warc_length"]
# What a worker sees. One part may mix pictures and documents; `kind` tells them apart.
ROWS = pa.schema(
    [
        ("record_id", pa.string()),
        ("url", pa.string()),
        ("kind", pa.string()),  # image | audio | document
        ("text", pa.string()),
        ("warc_path", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_length", pa.int64()),
    ]
)
EMBED_PART_ROWS = 500
TRANSCRIBE_PART_ROWS = 50


class Planner:
    """Plans the extract batches of one run of a stage; a medium is worked on once, in the first batch that offers it.

    If that batch is never published, the medium is not live, and the next run plans it again.
    """

    def __init__(self, view: "View", stage: Stage, config: Config) -> None:
        recipe = pipeline.recipe(stage, config)
        live = view.state.live.items()
        self._view = view
        self._same_recipe = [name for name, row in live if row.stage == stage.name and row.settings_hash == recipe]
        self._planned: set[str] = set()

    def embed(self, batch: Batch) -> Plan:
        """Plan one batch's pictures and documents."""
        media, num_media = self._fresh(batch, "image", "image_features")
        documents = self._view.read("documents", ["document_id", "url", "text"], [batch.batch_id])
        kind = pa.array(["document"] * documents.num_rows, pa.string())
        texts = documents.rename_columns(["record_id", "url", "text"]).append_column("kind", kind)
        counts = Input(batch, num_in=num_media + documents.num_rows, num_reused=num_media - media.num_rows)
        return Plan((counts,), pa.concat_tables([_as_rows(media), _as_rows(texts)]), "record_id", EMBED_PART_ROWS)

    def transcribe(self, batch: Batch) -> Plan:
        """Plan one batch's recordings."""
        media, num_media = self._fresh(batch, "audio", "transcripts")
        counts = Input(batch, num_in=num_media, num_reused=num_media - media.num_rows)
        return Plan((counts,), _as_rows(media), "record_id", TRANSCRIBE_PART_ROWS)

    def _fresh(self, batch: Batch, kind: str, table: str) -> tuple[pa.Table, int]:
        """Return the media of a kind that are new to the recipe and to this run, and how many of the kind there are."""
        media = self._view.read("media", MEDIA, [batch.batch_id])
        media = media.filter(pc.equal(media["kind"], kind)).rename_columns(["record_id", *MEDIA[1:]])
        ids = media["record_id"].to_pylist()
        found = self._view.lookup(table, "media_id", ids, ["media_id", "batch_id"])
        live = found.filter(pc.is_in(found["batch_id"], pa.array(self._same_recipe, pa.string())))
        self._planned.update(live["media_id"].to_pylist())
        fresh = []
        for index, media_id in enumerate(ids):
            if media_id not in self._planned:
                self._planned.add(media_id)
                fresh.append(index)
        return media.take(pa.array(fresh, pa.int64())), len(ids)


def _as_rows(table: pa.Table) -> pa.Table:
    size = table.num_rows
    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(size, field.type)
        for field in ROWS
    ]
    return pa.table(columns, schema=ROWS)
