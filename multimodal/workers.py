"""The workers of embed and transcribe: load the models once, then turn parts into rows."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import schema
from catalog.models import Weights, remedy
from catalog.schema import Reason
from catalog.settings import Resources
from catalog.warc import read_payload
from multimodal.backends import choose_backend
from multimodal.decode import Reject
from multimodal.encoders import SentenceEncoder, load_clip, load_sentences
from multimodal.images import ImageEmbedder
from multimodal.recordings import Origin, transcribe_rows
from multimodal.settings import EmbedSettings, TranscribeSettings
from multimodal.texts import embed_texts

Row: TypeAlias = dict[str, Any]
Tables: TypeAlias = Mapping[str, pa.Table]


class Embedder:
    """Pictures and documents in (plans.ROWS), features out; without weights, `no_model` rejects that say what to do."""

    def __init__(
        self, settings: EmbedSettings, weights: tuple[Weights, Weights], warehouse: str, resources: Resources
    ) -> None:
        self._clip_weights, self._text_weights = weights
        self._threads = _threads(resources)
        device = _device(resources)
        self._pictures: ImageEmbedder | None = None
        self._sentences: SentenceEncoder | None = None
        if self._clip_weights.path:
            self._pictures = ImageEmbedder(load_clip(self._clip_weights, device), settings, partial(_read, warehouse))
        if self._text_weights.path:
            self._sentences = load_sentences(self._text_weights, device)

    def __call__(self, part: pa.Table) -> Tables:
        """Embed one part."""
        rows = part.to_pylist()
        pictures = [row for row in rows if row["kind"] == "image"]
        documents = [row for row in rows if row["kind"] == "document"]
        return _tables("embed", [self._embed_pictures(pictures), self._embed_documents(documents)])

    def _embed_pictures(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        if self._pictures is None:
            return {"rejects": [_no_model(row, self._clip_weights) for row in rows]}
        media = [row | {"media_id": row["record_id"]} for row in rows]
        results = list(zip(rows, self._pictures(media, self._threads), strict=True))
        return {
            "image_features": [item.features for _, item in results if item.features],
            "thumbnails": [item.thumbnail for _, item in results if item.thumbnail],
            "rejects": [_rejected(row, item.reject) for row, item in results if item.reject],
        }

    def _embed_documents(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        if self._sentences is None:
            return {"rejects": [_no_model(row, self._text_weights) for row in rows]}
        empty = Reject(Reason.EMPTY_TEXT, "nothing to embed")
        full = [row for row in rows if row["text"] and row["text"].strip()]
        documents = [{"document_id": row["record_id"], "text": row["text"]} for row in full]
        return {
            "text_features": embed_texts(documents, self._sentences, self._threads),
            "rejects": [_rejected(row, empty) for row in rows if not (row["text"] and row["text"].strip())],
        }


class Listener:
    """Recordings in (plans.ROWS), transcripts out; without weights, `no_model` rejects that say what to do."""

    def __init__(
        self,
        settings: TranscribeSettings,
        weights: Weights,
        warehouse: str,
        resources: Resources,
        kinds: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._kinds = kinds
        self._weights = weights
        self._read = partial(_read, warehouse)
        self._origin = Origin(choose_backend(settings, weights), weights.name, weights.revision)
        self._transcribers = []
        if weights.path:
            from multimodal.speech import load_transcribers

            self._transcribers = load_transcribers(weights, settings, _device(resources), _threads(resources))

    def __call__(self, part: pa.Table) -> Tables:
        """Transcribe one part."""
        rows = part.to_pylist()
        if not self._transcribers:
            return _tables("transcribe", [{"rejects": [_no_model(row, self._weights) for row in rows]}])
        media = [row | {"media_id": row["record_id"]} for row in rows]
        results = transcribe_rows(media, self._transcribers, self._settings, self._origin, self._read, self._kinds)
        both = list(zip(rows, results, strict=True))
        transcripts = [result for _, result in both if not isinstance(result, Reject)]
        rejected = [_rejected(row, result) for row, result in both if isinstance(result, Reject)]
        return _tables("transcribe", [{"transcripts": transcripts, "rejects": rejected}])


def _tables(stage: str, pieces: Sequence[dict[str, list[Row]]]) -> Tables:
    """Turn rows by table name into tables; an empty list gives none."""
    rows: dict[str, list[Row]] = {}
    for piece in pieces:
        for name, found in piece.items():
            rows.setdefault(name, []).extend(found)
    tables = {
        name: pa.Table.from_pylist(found, schema=schema.body(name))
        for name, found in rows.items()
        if found and name != "rejects"
    }
    return tables | {"rejects": schema.rejects(stage, rows.get("rejects", []))}


def _read(warehouse: str, row: Row, max_bytes: int) -> bytes:
    return read_payload(warehouse, row["warc_path"], row["warc_offset"], row["warc_length"], max_bytes)


def _rejected(row: Row, reject: Reject) -> Row:
    return {"record_id": row["record_id"], "url": row["url"], "reason": reject.reason.value, "detail": reject.detail}


def _no_model(row: Row, weights: Weights) -> Row:
    return _rejected(row, Reject(Reason.NO_MODEL, remedy(weights.task, weights.name)))


def _threads(resources: Resources) -> int:
    return max(1, int(resources.cpus))


def _device(resources: Resources) -> str:
    return "cuda" if resources.gpus > 0 else "cpu"
