"""The bytes of one exported file: JSON lines, Parquet, a WebDataset tar, or Parquet as `datasets` decodes it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import sql
from catalog.errors import Corrupt
from catalog.home import View
from catalog.warc import read_payload

MAX_PAYLOAD = 1 << 30  # where a media row does not say how many bytes it has
SUFFIXES = {
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-wav": "wav",
    "application/ogg": "ogg",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/webp": "webp",
}  # fmt: skip — the system's table of media types differs between machines
FILE = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
FEATURES = {"images": {"_type": "List", "feature": {"_type": "Image"}},
            "audio": {"_type": "List", "feature": {"_type": "Audio"}}}  # fmt: skip


class Media:
    """The payloads of a view's media; those that cannot be read are named in `missing`."""

    def __init__(self, warehouse: str, view: View) -> None:
        self._warehouse = warehouse
        self._view = view
        self.missing: list[dict[str, str]] = []

    def of(self, records: list[dict[str, Any]]) -> list[list[tuple[str, str, str, bytes]]]:
        """Return each example's media in the order of their segments, each once: (kind, id, suffix, bytes)."""
        wanted = [list(_referred(row["segments"])) for row in records]
        known = self._rows({media for found in wanted for _, media in found})
        read: list[list[tuple[str, str, str, bytes]]] = []
        for row, found in zip(records, wanted, strict=True):
            read.append([])
            for kind, media in found:
                try:
                    payload, suffix = _payload(self._warehouse, known.get(media), media)
                except Corrupt as error:
                    one = {"example_id": row["example_id"], "media_id": media, "detail": str(error)}
                    self.missing.append(one)
                else:
                    read[-1].append((kind, media, suffix, payload))
        return read

    def sizes(self, segments: Iterable[list[dict[str, Any]] | None]) -> list[int]:
        """Return how many bytes the media have that each example's segments show."""
        wanted = [list(_referred(shown)) for shown in segments]
        known = self._rows({media for found in wanted for _, media in found})
        return [sum(known[media]["num_bytes"] or 0 for _, media in found if media in known) for found in wanted]

    def _rows(self, wanted: set[str]) -> dict[str, dict[str, Any]]:
        """Return one row of each medium: the same one whatever order the tables give them in."""
        rows = self._view.lookup("media", "media_id", wanted).to_pylist()
        rows.sort(key=lambda row: (row["media_id"], row["url"] or "", row["batch_id"]), reverse=True)
        return {row["media_id"]: row for row in rows}


def to_jsonl(rows: pa.Table) -> bytes:
    """Write one JSON object a line."""
    return b"".join(_json(row) + b"\n" for row in rows.to_pylist())


def to_parquet(rows: pa.Table) -> bytes:
    """Write the table as it is."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def to_huggingface(rows: pa.Table, media: Media) -> bytes:
    """Write the table with its pictures and recordings, as `datasets.load_dataset` decodes them."""
    found = media.of(rows.to_pylist())
    for name, kind in (("images", "image"), ("audio", "audio")):
        column = [
            [{"bytes": data, "path": f"{one}.{suffix}"} for what, one, suffix, data in held if what == kind]
            for held in found
        ]
        rows = rows.append_column(name, pa.array(column, FILE))
    told = json.dumps({"info": {"features": FEATURES}}, sort_keys=True)
    return to_parquet(rows.replace_schema_metadata({"huggingface": told}))


def to_webdataset(rows: pa.Table, media: Media) -> bytes:
    """Make one tar: of each sample its json, its text and its media, which are `<key>.<number>.<suffix>`."""
    records = rows.to_pylist()
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, found in zip(records, media.of(records), strict=True):
            key = row["example_id"]
            names = [f"{key}.{number}.{suffix}" for number, (_, _, suffix, _) in enumerate(found)]
            described = {**row, "media": {name: one for name, (_, one, _, _) in zip(names, found, strict=True)}}
            _add(tar, f"{key}.json", _json(described))
            _add(tar, f"{key}.txt", (row["text"] or "").encode("utf-8", "replace"))
            for name, (_, _, _, payload) in zip(names, found, strict=True):
                _add(tar, name, payload)
    return sink.getvalue()


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps(sql.jsonable(row), ensure_ascii=False).encode("utf-8", "replace")


def _referred(segments: Iterable[dict[str, Any]] | None) -> Iterable[tuple[str, str]]:
    kinds = ("image", "audio")
    found = {s["ref_id"]: s["kind"] for s in segments or () if s["kind"] in kinds and s["ref_id"]}
    return ((kind, media) for media, kind in found.items())


def _payload(warehouse: str, row: dict[str, Any] | None, media: str) -> tuple[bytes, str]:
    """Read a medium's bytes from its WARC record and check them against its id, their SHA-256; raise Corrupt."""
    if row is None:
        raise Corrupt(f"media {media}: no live row")
    limit = row["num_bytes"] or MAX_PAYLOAD
    payload = read_payload(warehouse, row["warc_path"], row["warc_offset"], row["warc_length"], limit)
    if hashlib.sha256(payload).hexdigest() != media:
        raise Corrupt(f"media {media}: the WARC record at {row['warc_offset']} of {row['warc_path']} holds other bytes")
    return payload, SUFFIXES.get((row["content_type"] or "").partition(";")[0].strip().lower(), "bin")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time stay fixed, for identical bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
