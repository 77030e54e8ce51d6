"""Fused examples: a document's text, pictures and recordings in reading order, and the text that a model reads."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import schema
from catalog.ids import example_id, settings_hash
from catalog.schema import FLOAT, INT, STRING, TIME
from multimodal.settings import FuseSettings, FuseTemplate

Row: TypeAlias = dict[str, Any]
Piece: TypeAlias = tuple[Row | None, str]  # a segment, or None for media that left only words; how it reads

# A media reference of a document, and what is known of the file that it names; media_id is null where nothing is.
RESOLVED = pa.struct(
    [
        ("url", STRING),
        ("kind", STRING),
        ("alt", STRING),
        ("caption", STRING),
        ("block", INT),
        ("media_id", STRING),
        ("generated", STRING),  # a caption written by a model
        ("tags", pa.list_(pa.struct([("label", STRING), ("score", FLOAT)]))),
        ("transcript", STRING),
    ]
)
COPIED = ("url", "source", "source_class", "language", "licence", "fetched_at")

# What fusing works on: current documents with their media resolved and their place decided.
INPUTS = pa.schema(
    [
        ("document_id", STRING),
        ("document_batch", STRING),
        ("url", STRING),
        ("source", STRING),
        ("source_class", STRING),
        ("fetched_at", TIME),
        ("language", STRING),
        ("text", STRING),
        ("blocks", pa.list_(schema.BLOCK)),
        ("media", pa.list_(RESOLVED)),
        ("licence", STRING),
        ("cluster_id", STRING),
        ("split", STRING),
        ("change", STRING),
    ]
)


def fuse_documents(documents: pa.Table, settings: FuseSettings) -> pa.Table:
    """Turn rows in the shape of INPUTS into rows of `examples`, one each, ordered by example id."""
    examples = [_example(row, settings) for row in documents.to_pylist()]
    return pa.Table.from_pylist(examples, schema=schema.body("examples")).sort_by("example_id")


class FuseWorker:
    """Calls `fuse_documents`; it holds nothing expensive."""

    def __init__(self, settings: FuseSettings) -> None:
        self._settings = settings

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return {"examples": fuse_documents(part, self._settings)}


def resolve_media(
    references: Iterable[Row], media: Mapping[str, Row], features: Mapping[str, Row], transcripts: Mapping[str, Row]
) -> list[Row]:
    """Join a document's references with the media row of each URL and, by media id, its features or transcript.

    A file that was not fetched, or that no model could read, keeps its words and has no media_id.
    """
    resolved = []
    for reference in references:
        found = media.get(reference["url"])
        picture = features.get(found["media_id"]) if found else None
        speech = transcripts.get(found["media_id"]) if found else None
        known = found is not None and (picture is not None or speech is not None)
        resolved.append(
            {
                **reference,
                "kind": found["kind"] if found else reference["kind"],
                "media_id": found["media_id"] if found and known else None,
                "generated": picture["caption"] if picture else None,
                "tags": picture["tags"] if picture else [],
                "transcript": speech["text"] if speech else None,
            }
        )
    return resolved


def template_id(settings: FuseSettings) -> str:
    """Identify everything that shapes an example's rendered text."""
    return settings_hash(settings.model_dump(mode="json", exclude={"val", "test"}))[:12]


def fused_id(document_id: str, media: Iterable[Row], settings: FuseSettings) -> str:
    """Identify the example of a document with these resolved media."""
    media_ids = {item["media_id"] for item in media if item["media_id"]}
    return example_id(document_id, media_ids, template_id(settings))


def _example(row: Row, settings: FuseSettings) -> Row:
    pieces = list(_pieces(row, settings))
    return {
        "example_id": fused_id(row["document_id"], row["media"] or (), settings),
        "document_id": row["document_id"],
        "document_batch": row["document_batch"],
        "segments": [segment for segment, _ in pieces if segment is not None],
        "text": settings.template.separator.join(rendered for _, rendered in pieces if rendered),
        "template": template_id(settings),
        **{name: row[name] for name in (*COPIED, "cluster_id", "split", "change")},
    }


def _pieces(row: Row, settings: FuseSettings) -> Iterable[Piece]:
    """Yield text blocks and media in reading order: media after the block that it stands in, but before its caption."""
    text = row["text"] or ""
    blocks: Sequence[Row] = row["blocks"] or ([{"kind": "paragraph", "start": 0, "end": len(text)}] if text else [])
    anchored: dict[int, list[Row]] = defaultdict(list)
    for item in row["media"] or ():
        place = item["block"] if item["block"] is not None else 0
        anchored[max(0, min(place, len(blocks) - 1))].append(item)
    if not blocks:
        yield from (_medium(item, 0, 0, "", settings) for item in anchored[0])
    for index, block in enumerate(blocks):
        start, end = block["start"], block["end"]
        words = text[start:end]
        segment = {"kind": "text", "ref_id": row["document_id"], "block": index, "start": start, "end": end}
        written = ({**segment, "text": words}, settings.template.text.format(text=words))
        caption = block["kind"] == "caption"
        media = [_medium(item, index, start if caption else end, words, settings) for item in anchored[index]]
        yield from [*media, written] if caption else [written, *media]


def _medium(item: Row, block: int, place: int, context: str, settings: FuseSettings) -> Piece:
    """Make the segment of a picture or recording, and its line; words that its block already says are left out."""
    scored = [tag for tag in item["tags"] or () if tag["score"] >= settings.min_tag_score]
    best = sorted(scored, key=lambda tag: (-tag["score"], tag["label"]))[: settings.num_tags]
    words = {
        "caption": _unsaid(item["caption"], context),
        "alt": _unsaid(item["alt"], context),
        "generated": item["generated"] or "",
        "tags": ", ".join(tag["label"] for tag in best),
    }
    words["description"] = "; ".join(dict.fromkeys(value for value in words.values() if value))
    segment = {"ref_id": item["media_id"], "block": block}
    template: FuseTemplate = settings.template
    if item["media_id"] is None:
        return None, _render(template.missing, words, kind=item["kind"])
    if item["transcript"] is not None:
        spoken = item["transcript"]
        line = _render(template.audio, words | {"transcript": spoken}) or _render(template.missing, words, kind="audio")
        return {**segment, "kind": "audio", "start": 0, "end": len(spoken), "text": spoken}, line
    shown = {**segment, "kind": "image", "start": place, "end": place, "text": words["description"]}
    return shown, _render(template.image, words)


def _unsaid(words: str | None, context: str) -> str:
    return words if words and words not in context else ""


def _render(template: str, words: Mapping[str, str], **constant: str) -> str:
    """Fill a line; empty where all of its fields but the constant ones are."""
    used = {name for _, name, _, _ in Formatter().parse(template) if name is not None} - constant.keys()
    return template.format(**words, **constant) if not used or any(words[name] for name in used) else ""
