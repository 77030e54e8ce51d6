"""What an extract batch offers to embed and transcribe: its rows, without those that need no work."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from catalog import pipeline
from catalog.home import Batch, Input, Plan
from catalog.ids import batch_id
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
        ("kind", pa.string()),  # image | audio | video | document
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

    A batch that counts a medium as reused relies on the one that works on it: should that never be published, or be
    rolled back meanwhile, neither is this one, and the next run plans it again.
    """

    def __init__(self, view: "View", stage: Stage, config: Config) -> None:
        self._stage, self._recipe = stage.name, pipeline.recipe(stage, config)
        live = view.state.live.items()
        self._view = view
        self._same_recipe = [
            name for name, row in live if row.stage == stage.name and row.settings_hash == self._recipe
        ]
        self._planned: dict[str, str] = {}  # medium → the batch that holds its features, or will

    def embed(self, batch: Batch) -> Plan:
        """Plan one batch's pictures, films and documents."""
        media, num_media, relies_on = self._fresh(batch, ("image", "video"), "image_features")
        documents = self._view.read("documents", ["document_id", "url", "text"], [batch.batch_id])
        kind = pa.array(["document"] * documents.num_rows, pa.string())
        texts = documents.rename_columns(["record_id", "url", "text"]).append_column("kind", kind)
        counts = Input(batch, num_in=num_media + documents.num_rows, num_reused=num_media - media.num_rows)
        rows = pa.concat_tables([_as_rows(media), _as_rows(texts)])
        return Plan((counts,), rows, "record_id", EMBED_PART_ROWS, relies_on=relies_on)

    def transcribe(self, batch: Batch) -> Plan:
        """Plan one batch's recordings, those of films among them."""
        media, num_media, relies_on = self._fresh(batch, ("audio", "video"), "transcripts")
        counts = Input(batch, num_in=num_media, num_reused=num_media - media.num_rows)
        return Plan((counts,), _as_rows(media), "record_id", TRANSCRIBE_PART_ROWS, relies_on=relies_on)

    def _fresh(self, batch: Batch, kinds: tuple[str, ...], table: str) -> tuple[pa.Table, int, frozenset[str]]:
        """Return the media of some kinds that are new to the recipe and to this run, how many of these kinds there are,
        and which batches hold the others."""
        media = self._view.read("media", MEDIA, [batch.batch_id])
        media = media.filter(pc.is_in(media["kind"], pa.array(kinds))).rename_columns(["record_id", *MEDIA[1:]])
        ids = media["record_id"].to_pylist()
        found = self._view.lookup(table, "media_id", ids, ["media_id", "batch_id"])
        live = found.filter(pc.is_in(found["batch_id"], pa.array(self._same_recipe, pa.string())))
        self._planned |= dict(zip(live["media_id"].to_pylist(), live["batch_id"].to_pylist(), strict=True))
        ours = batch_id(self._stage, self._recipe, [batch.batch_id])
        fresh = []
        for index, media_id in enumerate(ids):
            if media_id not in self._planned:
                self._planned[media_id] = ours
                fresh.append(index)
        relies_on = frozenset(self._planned[media_id] for media_id in ids) - {ours}
        return media.take(pa.array(fresh, pa.int64())), len(ids), relies_on


def _as_rows(table: pa.Table) -> pa.Table:
    size = table.num_rows
    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(size, field.type)
        for field in ROWS
    ]
    return pa.table(columns, schema=ROWS)
