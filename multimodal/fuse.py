"""Fused examples: a document's text, pictures and recordings in reading order, and the text that a model reads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import schema
from catalog.ids import example_id, make_id, settings_hash, text_sha256
from catalog.schema import FLOAT, INT, STRING, TIME
from multimodal.lengths import Limit
from multimodal.lines import Line, Span, lines_of
from multimodal.settings import FuseSettings, FuseTemplate

Row: TypeAlias = dict[str, Any]

FEATURES = [("model", STRING), ("revision", STRING), ("shape", pa.list_(INT))]  # shape: of rows for soft tokens, if any
PICTURE = pa.struct(
    [
        ("seconds", FLOAT),  # into a film
        ("caption", STRING),  # written by a model
        ("tags", pa.list_(pa.struct([("label", STRING), ("score", FLOAT)]))),
        *FEATURES,
    ]
)
PASSAGE = pa.struct([("start", FLOAT), ("end", FLOAT), ("text", STRING)])
SPEECH = pa.struct([("text", STRING), ("duration", FLOAT), ("passages", pa.list_(PASSAGE)), *FEATURES])
# A media reference of a document, and what is known of the file that it names; media_id is null where nothing is.
RESOLVED = pa.struct(
    [
        ("url", STRING),
        ("kind", STRING),
        ("alt", STRING),
        ("caption", STRING),
        ("block", INT),
        ("media_id", STRING),
        ("licence", STRING),
        ("pictures", pa.list_(PICTURE)),  # one, or the key frames of a film
        ("speech", SPEECH),
    ]
)
ADDED = {"image_token", "audio_token", "joint", "tag_joint", "labels"}  # to templates, after homes had examples
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


class FuseWorker:
    """Turns rows in the shape of INPUTS into rows of `examples`; `tokenizer` is a tokenizer.json's text."""

    def __init__(self, settings: FuseSettings, tokenizer: str | None = None) -> None:
        self._settings = settings
        self._template = template_id(settings, tokenizer)
        self._limit = Limit(tokenizer, settings) if tokenizer and settings.max_tokens else None

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        examples = [example for row in part.to_pylist() for example in self._examples(row)]
        return {"examples": pa.Table.from_pylist(examples, schema=schema.body("examples")).sort_by("example_id")}

    def _examples(self, row: Row) -> Iterable[Row]:
        """Yield a document's example; several where it is too long for one."""
        lines = list(lines_of(row, self._settings))
        template = self._settings.template_of(row["language"])
        parts = self._limit.parts(lines, template.separator) if self._limit else [lines]
        for number, part in enumerate(parts, 1):
            read = assemble(part, template.separator)
            yield {
                "example_id": fused_id(row["document_id"], row["media"] or (), self._template, number),
                "document_id": row["document_id"],
                "document_batch": row["document_batch"],
                **read,
                "template": self._template,
                "part": number,
                "num_parts": len(parts),
                "num_tokens": self._limit.count(read["text"]) if self._limit else None,
                **{name: row[name] for name in (*COPIED, "cluster_id", "split", "change")},
            }


def assemble(lines: Iterable[Line], separator: str) -> Row:
    """Join lines to the text that a model reads; say where in it each segment stands, and each row of features."""
    text = ""
    segments: list[Row] = []
    placements: list[Row] = []
    features: list[Row] = []
    for line in lines:
        read, body = line.render()
        start = len(text)
        if line.token or read:
            start += len(separator) if text else 0
            text += (separator if text else "") + line.token + read
        said = start + len(line.token)
        if line.origin.shape:
            features.append(_features(line, start, said))
        for span in line.spans:
            segments.append(_segment(line, span))
            placements.append(_placement(line, span, (said, said + len(read)), body))
    return {"text": text, "segments": segments, "placements": placements, "features": features}


def _segment(line: Line, span: Span) -> Row:
    made_of = {"kind": line.origin.kind, "ref_id": line.origin.ref_id, "block": line.origin.block}
    return {**made_of, "start": span.start, "end": span.end, "text": span.text}


def _placement(line: Line, span: Span, read: tuple[int, int], body: int | None) -> Row:
    """Say where a segment's words stand: of text and speech their own range, of a picture its whole line."""
    start, end = read if line.origin.kind == "image" else (None, None)
    if body is not None:
        start = read[0] + body + span.start - line.spans[0].start
        end = start + len(span.text)
    seconds = span.heard or (None, None)
    by = {name: getattr(line.origin, name) for name in ("licence", "model", "revision")}
    return {"text_start": start, "text_end": end, "seconds_start": seconds[0], "seconds_end": seconds[1], **by}


def _features(line: Line, start: int, end: int) -> Row:
    first, last = line.spans[0].heard, line.spans[-1].heard
    of_piece = line.origin.kind == "image" or not line.whole
    return {
        "start": start,
        "end": end,
        "table": line.origin.table,
        "media_id": line.origin.ref_id,
        "model": line.origin.model,
        "revision": line.origin.revision,
        "shape": list(line.origin.shape),
        "seconds_start": first[0] if first and of_piece else None,
        "seconds_end": last[1] if last and of_piece else None,
    }


def resolve_media(
    references: Iterable[Row],
    media: Mapping[str, Row],
    pictures: Mapping[str, Sequence[Row]],
    speech: Mapping[str, Row],
) -> list[Row]:
    """Join a document's references with the media row of each URL and, by media id, its features or transcript.

    A file that was not fetched, or that no model could read, keeps its words and has no media_id.
    """
    resolved = []
    for reference in references:
        found = media.get(reference["url"])
        shown = pictures.get(found["media_id"]) if found else None
        said = speech.get(found["media_id"]) if found else None
        known = found is not None and (shown is not None or said is not None)
        resolved.append(
            {
                **reference,
                "kind": found["kind"] if found else reference["kind"],
                "media_id": found["media_id"] if found and known else None,
                "licence": found["licence"] if found else None,
                "pictures": list(shown or ()),
                "speech": said,
            }
        )
    return resolved


def template_id(settings: FuseSettings, tokenizer: str | None = None) -> str:
    """Identify everything that shapes an example's rendered text."""
    shaping = settings.model_dump(mode="json", exclude={"val", "test", "max_tokens"})
    unused = FuseTemplate().model_dump(mode="json", include=ADDED)
    given = shaping["template"].items()  # what has its default shapes as little as before it was a setting
    shaping["template"] = {key: value for key, value in given if key not in unused or value != unused[key]}
    if not shaping["languages"]:
        del shaping["languages"]
    if settings.max_tokens and tokenizer:
        shaping |= {"max_tokens": settings.max_tokens, "tokenizer": text_sha256(tokenizer)}
    return settings_hash(shaping)[:12]


def fused_id(document_id: str, media: Iterable[Row], template: str, part: int = 1) -> str:
    """Identify a part of the example of a document with these resolved media under a template's id."""
    first = example_id(document_id, {item["media_id"] for item in media if item["media_id"]}, template)
    return first if part == 1 else make_id("part", first, str(part))
