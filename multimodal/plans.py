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


def plan_embed(view: "View", batch: Batch, stage: Stage, config: Config) -> Plan:
    """Plan one extract batch's pictures and documents; pictures that the recipe has already seen are reused."""
    media, num_media, num_reused = _fresh_media(view, batch, "image", "image_features", (stage, config))
    documents = view.read("documents", ["document_id", "url", "text"], [batch.batch_id])
    kind = pa.array(["document"] * documents.num_rows, pa.string())
    texts = documents.rename_columns(["record_id", "url", "text"]).append_column("kind", kind)
    counts = Input(batch, num_in=num_media + documents.num_rows, num_reused=num_reused)
    return Plan((counts,), pa.concat_tables([_as_rows(media), _as_rows(texts)]), "record_id", EMBED_PART_ROWS)


def plan_transcribe(view: "View", batch: Batch, stage: Stage, config: Config) -> Plan:
    """Plan one extract batch's recordings; those that the recipe has already heard are reused."""
    media, num_media, num_reused = _fresh_media(view, batch, "audio", "transcripts", (stage, config))
    counts = Input(batch, num_in=num_media, num_reused=num_reused)
    return Plan((counts,), _as_rows(media), "record_id", TRANSCRIBE_PART_ROWS)


def _fresh_media(
    view: "View", batch: Batch, kind: str, table: str, of: tuple[Stage, Config]
) -> tuple[pa.Table, int, int]:
    """Return once each medium that no live batch of the recipe holds, the number of rows, and how many are spared."""
    stage, config = of
    media = view.read("media", MEDIA, [batch.batch_id])
    media = media.filter(pc.equal(media["kind"], kind)).rename_columns(["record_id", *MEDIA[1:]])
    ids = media["record_id"].to_pylist()
    recipe = pipeline.recipe(stage, config)
    same = [b for b, row in view.state.live.items() if row.stage == stage.name and row.settings_hash == recipe]
    found = view.lookup(table, "media_id", ids, ["media_id", "batch_id"])
    known = set(found.filter(pc.is_in(found["batch_id"], pa.array(same, pa.string())))["media_id"].to_pylist())
    first = {media_id: index for index, media_id in reversed(list(enumerate(ids))) if media_id not in known}
    fresh = media.take(pa.array(sorted(first.values()), pa.int64()))
    return fresh, len(ids), len(ids) - len(first)


def _as_rows(table: pa.Table) -> pa.Table:
    size = table.num_rows
    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(size, field.type)
        for field in ROWS
    ]
    return pa.table(columns, schema=ROWS)
