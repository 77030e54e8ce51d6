"""The band index: MinHash bands and token codes of documents or transcripts, a consumer that can be built anew.

A home holds it as immutable segments below one manifest. Entries are sorted within each band, so that a new document
costs a binary search a segment; small segments are merged as they add up, and none outgrows SEGMENT_ROWS.
"""

import hashlib
import json
import mmap
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray
from rensa import RMinHash

from catalog import files
from catalog.errors import Corrupt
from catalog.home import View
from catalog.ids import make_id
from catalog.lookalikes import Text
from catalog.minhash import Codes, Recipe, band_keys, tokenize
from catalog.schema import TABLES

COLUMNS = ["document_id", "batch_id", "url", "text_sha256", "fetched_at", "page_id"]
SOURCE = {"documents": [*COLUMNS, "language", "title", "text"], "transcripts": ["media_id", "batch_id", "text"]}
TOKENS = pa.list_(pa.uint32())
ROWS = pa.schema([*(TABLES["documents"].field(name) for name in COLUMNS), ("text", TOKENS), ("title", TOKENS)])
LAYOUT = 1  # raised when what a segment holds changes
MANIFEST = "manifest.json"
SEGMENT_ROWS = 50_000
SEGMENT_TOKENS = 20_000_000  # 80 MB
PER_BAND = 100  # candidates that a band may name: what more documents share is a template, and the oldest stand for it
PER_DOCUMENT = 128  # candidates to verify, those that share most bands first
QUERIES = 1000  # documents looked up at once
READ = 5000  # documents read and tokenized at once, at least a batch
ROW, SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)  # an entry holds a key above the number of its row

Entries = NDArray[np.uint64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Entry:
    """One segment, as the manifest names it."""

    name: str
    batches: tuple[str, ...]
    num_rows: int
    num_tokens: int
    sha256: tuple[str, str]  # of the bands, of the rows


class Segment:
    """Documents in memory-mapped files: the entries of each band [bands, rows], sorted, and the rows (see ROWS)."""

    def __init__(self, folder: Path, entry: Entry) -> None:
        self.entry = entry
        bands, rows = paths(folder, entry)
        try:  # an empty array cannot be mapped
            self.bands: Entries = np.load(bands, mmap_mode="r" if entry.num_rows else None)
            with rows.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.rows = pa.ipc.open_file(pa.py_buffer(mapped)).read_all()
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise Corrupt(f"{bands.with_suffix('')}: {error}; run headrace doctor --repair") from error
        chunks = [self.rows[name].chunk(0) for name in ("text", "title") if entry.num_rows]
        self._tokens = [(item.offsets.to_numpy(), item.values.to_numpy()) for item in chunks]
        self._mapped = [item for item in (mapped, self.bands.base) if isinstance(item, mmap.mmap)]

    def release(self) -> None:
        """Let go of the pages that were read, which would count as this process's memory until others need it."""
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)

    @cached_property
    def keys(self) -> Codes:
        """The keys of every document [rows, bands]."""
        found = np.empty(self.bands.shape[::-1], np.uint32)
        for band, entries in enumerate(self.bands):
            found[entries & ROW, band] = entries >> SHIFT
        return found

    def text(self, row: int) -> Text:
        """Return the token codes of one document."""
        return Text(*(values[offsets[row] : offsets[row + 1]] for offsets, values in self._tokens))

    def num_tokens(self, rows: Numbers) -> Numbers:
        """Return the lengths of texts."""
        offsets, _ = self._tokens[0]
        return np.asarray(offsets[rows + 1] - offsets[rows], np.int64)

    def probe(self, keys: Codes) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield, band by band, which queries (keys [queries, bands]) meet which rows."""
        for wanted, entries in zip(keys.T.astype(np.uint64) << SHIFT, self.bands, strict=True):
            first = np.searchsorted(entries, wanted)
            met = np.flatnonzero(entries[np.minimum(first, self.entry.num_rows - 1)] | ROW == wanted | ROW)
            first = first[met]
            counts = np.minimum(np.searchsorted(entries, wanted[met] | ROW, "right") - first, PER_BAND)
            places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            yield np.repeat(met, counts), (entries[places] & ROW).astype(np.int64)


class BandIndex:
    """Finds documents that may be near-duplicates of one another; a number names a document until the next refresh."""

    def __init__(self, root: Path, recipe: Recipe, languages: Collection[str], table: str = "documents") -> None:
        made_for = (LAYOUT, RMinHash.ALGORITHM_VERSION, asdict(recipe), sorted(languages))
        self._kin = "" if table == "documents" else f"{table}-"
        self._folder = folder_of(root) / (self._kin + make_id("bands", repr(made_for)))
        self._table = table
        self._recipe = recipe
        self._languages = pa.array(sorted(languages), pa.string())
        self._segments: list[Segment] = []
        self._starts: Numbers = np.zeros(1, np.int64)

    @property
    def folder(self) -> Path:
        """Where the index lies."""
        return self._folder

    @property
    def batches(self) -> frozenset[str]:
        """The batches whose documents are held."""
        return frozenset(batch for segment in self._segments for batch in segment.entry.batches)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def refresh(self, view: View, wanted: Sequence[str]) -> None:
        """Hold exactly these batches, given oldest first: add what is new, drop what is gone."""
        with self._changing():
            held = self.batches
            if gone := held - set(wanted):
                self._drop("batch_id", gone)
            new = [(batch, view.state.published[batch].outputs.get(self._table, 0)) for batch in wanted]
            for batches in _groups([item for item in new if item[0] not in held]):
                self._add(batches, self._read(view, batches))

    def forget(self, ids: Collection[str]) -> int:
        """Remove documents by id, as if their batches had never held them; return how many rows that were."""
        with self._changing():
            before = sum(segment.entry.num_rows for segment in self._segments)
            self._drop("document_id", ids)
        return before - len(self)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Load the index under its lock, and remove what no manifest names afterwards."""
        files.make_folders(self._folder)
        with FileLock(self._folder.parent / ".lock"):
            self._segments = [Segment(self._folder, entry) for entry in read_manifest(self._folder)]
            yield
            self._sweep()
        self._starts = np.cumsum([0, *(segment.entry.num_rows for segment in self._segments)])

    def numbers(self, batches: Collection[str]) -> Numbers:
        """Return the numbers of the documents of some batches."""
        found = [np.empty(0, np.int64)]
        for start, segment in zip(self._starts, self._segments, strict=False):
            if not set(batches).isdisjoint(segment.entry.batches):
                ours = pa.compute.is_in(segment.rows["batch_id"], pa.array(sorted(batches), pa.string()))
                found.append(start + np.flatnonzero(ours.to_numpy()))
        return np.concatenate(found)

    def rows(self, numbers: Numbers, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Return columns (see COLUMNS) of the documents with these numbers, in their order."""
        of = self._segments_of(numbers)
        order = np.argsort(of, kind="stable")
        pieces = [
            self._segments[k].rows.select(columns).take(numbers[of == k] - self._starts[k]) for k in np.unique(of)
        ]
        found = pa.concat_tables([pa.schema([ROWS.field(name) for name in columns]).empty_table(), *pieces])
        return found.take(np.argsort(order))

    def texts(self, numbers: Numbers) -> list[Text]:
        """Return the token codes of documents."""
        of = self._segments_of(numbers)
        rows = numbers - self._starts[of]
        return [self._segments[k].text(row) for k, row in zip(of.tolist(), rows.tolist(), strict=True)]

    def num_tokens(self, numbers: Numbers) -> Numbers:
        """Return the lengths of documents' texts."""
        of = self._segments_of(numbers)
        found = np.empty(len(numbers), np.int64)
        for k in np.unique(of):
            found[of == k] = self._segments[k].num_tokens(numbers[of == k] - self._starts[k])
        return found

    def pairs(self, numbers: Numbers) -> Iterator[Numbers]:
        """Yield pairs [n, 2] of these documents and others that share a band, QUERIES documents at a time."""
        for start in range(0, len(numbers), QUERIES):
            asked = numbers[start : start + QUERIES]
            of = self._segments_of(asked)
            keys = np.empty((len(asked), self._recipe.num_bands), np.uint32)
            for k in np.unique(of):
                keys[of == k] = self._segments[k].keys[asked[of == k] - self._starts[k]]
            met = [np.empty(0, np.int64)]
            for first, segment in zip(self._starts, self._segments, strict=False):
                if segment.entry.num_rows:
                    met += [(queries << 40) | (rows + first) for queries, rows in segment.probe(keys)]
                    segment.release()
            shared, counts = np.unique(np.concatenate(met), return_counts=True)
            queries, found = shared >> 40, shared & ((1 << 40) - 1)
            order = np.lexsort((found, -counts, queries))
            order = order[found[order] != asked[queries[order]]]
            queries, found = queries[order], found[order]
            rank = np.arange(len(queries)) - np.searchsorted(queries, queries)
            best = rank < PER_DOCUMENT
            yield np.stack([asked[queries[best]], found[best]], axis=1)

    def release(self) -> None:
        """Let go of the pages that were read."""
        for segment in self._segments:
            segment.release()

    def _segments_of(self, numbers: Numbers) -> Numbers:
        return np.searchsorted(self._starts, numbers, "right") - 1

    def _read(self, view: View, batches: Sequence[str]) -> pa.Table:
        found = _as_documents(view.read(self._table, SOURCE[self._table], batches), self._table)
        place = pa.compute.index_in(found["batch_id"], pa.array(batches, pa.string()))
        found = found.append_column("place", place).sort_by([("place", "ascending"), ("document_id", "ascending")])
        if len(self._languages):
            found = found.filter(pa.compute.is_in(found["language"], self._languages))
        texts, titles = ([tokenize(item or "") for item in found[name].to_pylist()] for name in ("text", "title"))
        lengths = np.array([len(codes) for codes in texts], np.int64)
        long = lengths >= self._recipe.sizes(np.concatenate([np.empty(0, np.uint32), *texts]), lengths)
        tokens = {"text": _array(texts), "title": _array(titles)}
        rows = pa.table({**{name: found[name] for name in COLUMNS}, **tokens}, schema=ROWS)
        return rows.filter(pa.array(long)).combine_chunks()

    def _add(self, batches: Sequence[str], rows: pa.Table) -> None:
        """Write the documents of batches as a segment, in one with the small ones before it."""
        keys = band_keys(_lists(rows, "text"), self._recipe).T.astype(np.uint64)
        added = np.sort(keys << SHIFT | np.arange(rows.num_rows, dtype=np.uint64), axis=1)
        keep, num_rows, num_tokens = len(self._segments), rows.num_rows, _num_tokens(rows)
        while keep and self._segments[keep - 1].entry.num_rows <= 2 * num_rows:
            num_rows += self._segments[keep - 1].entry.num_rows
            num_tokens += self._segments[keep - 1].entry.num_tokens
            if num_rows > SEGMENT_ROWS or num_tokens > SEGMENT_TOKENS:
                break
            keep -= 1
        small = self._segments[keep:]
        held = [batch for segment in small for batch in segment.entry.batches]
        joined = _join([*((segment.bands, segment.rows) for segment in small), (added, rows)])
        self._save([*self._segments[:keep], self._write([*held, *batches], *joined)])

    def _drop(self, column: str, gone: Collection[str]) -> None:
        """Write the segments that hold such documents without them."""
        segments = []
        values = pa.array(sorted(gone), pa.string())
        for segment in self._segments:
            stay = pa.compute.invert(pa.compute.is_in(segment.rows[column], values)).to_numpy()
            left = [batch for batch in segment.entry.batches if column != "batch_id" or batch not in gone]
            if stay.all() and len(left) == len(segment.entry.batches):
                segments.append(segment)
            elif left:
                segments.append(self._write(left, *_select(segment.bands, segment.rows, stay)))
        self._save(segments)

    def _write(self, batches: Sequence[str], bands: Entries, rows: pa.Table) -> Segment:
        sinks = pa.BufferOutputStream(), pa.BufferOutputStream()
        np.save(sinks[0], bands)
        with pa.ipc.new_file(sinks[1], ROWS) as file:
            file.write_table(rows.combine_chunks())
        data = [sink.getvalue() for sink in sinks]
        first, second = (hashlib.sha256(item).hexdigest() for item in data)
        name = make_id("segment", *batches, first, second)
        entry = Entry(name, tuple(batches), rows.num_rows, _num_tokens(rows), (first, second))
        for path, item in zip(paths(self._folder, entry), data, strict=True):
            files.write_new(str(path), item)
        return Segment(self._folder, entry)

    def _save(self, segments: Sequence[Segment]) -> None:
        """Make these segments the index, at once."""
        manifest = json.dumps([asdict(segment.entry) for segment in segments])
        files.replace(str(self._folder / MANIFEST), manifest.encode())
        self._segments = list(segments)

    def _sweep(self) -> None:
        """Remove what no manifest names: segments before a merge or of a killed run, indexes of other settings."""
        used = {path for segment in self._segments for path in paths(self._folder, segment.entry)}
        for path in self._folder.iterdir():
            if path not in used and path.name != MANIFEST:
                path.unlink()
        for folder in self._folder.parent.iterdir():
            if folder.is_dir() and folder != self._folder and folder.name.rpartition("-")[0] == self._kin.rstrip("-"):
                shutil.rmtree(folder)


def folder_of(root: Path) -> Path:
    """Return where a home keeps its band indexes."""
    return root / "indexes" / "minhash"


def paths(folder: Path, entry: Entry) -> tuple[Path, Path]:
    """Return the files of a segment: its bands, its rows."""
    return folder / f"{entry.name}.npy", folder / f"{entry.name}.arrow"


def read_manifest(folder: Path) -> list[Entry]:
    """Return the segments that an index consists of; raise Corrupt if its manifest cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lists = ("batches", "sha256")
        return [Entry(**{**item, **{name: tuple(item[name]) for name in lists}}) for item in found]
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError) as error:
        raise Corrupt(f"{path} is no manifest: {error}; run headrace doctor --repair") from error


def _as_documents(rows: pa.Table, table: str) -> pa.Table:
    """Give transcripts the columns of documents: a recording's id stands for its text's hash too."""
    if table == "documents":
        return rows
    as_is = {"document_id": "media_id", "text_sha256": "media_id", "batch_id": "batch_id", "text": "text"}
    columns = [
        rows[as_is[name]] if name in as_is else pa.nulls(rows.num_rows, TABLES["documents"].field(name).type)
        for name in SOURCE["documents"]
    ]
    return pa.table(columns, names=SOURCE["documents"])


def _groups(batches: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Yield batches, given with their numbers of rows, that are read together, oldest first."""
    group: list[str] = []
    total = 0
    for batch, count in batches:
        if group and total + count > min(READ, SEGMENT_ROWS):
            yield group
            group, total = [], 0
        group.append(batch)
        total += count
    if group:
        yield group


def _join(pieces: Sequence[tuple[Entries, pa.Table]]) -> tuple[Entries, pa.Table]:
    """Put documents after one another."""
    starts = np.cumsum([0, *(rows.num_rows for _, rows in pieces)]).astype(np.uint64)
    moved = [bands + start for (bands, _), start in zip(pieces, starts, strict=False)]
    return np.sort(np.concatenate(moved, axis=1), axis=1), pa.concat_tables([rows for _, rows in pieces])


def _select(bands: Entries, rows: pa.Table, keep: NDArray[np.bool_]) -> tuple[Entries, pa.Table]:
    """Leave out documents; those that stay keep their order."""
    place = np.cumsum(keep, dtype=np.uint64) - np.uint64(1)
    old = (bands & ROW).astype(np.int64)
    kept = keep[old]
    moved = (bands >> SHIFT << SHIFT) | place[old]
    return moved[kept].reshape(len(bands), -1), rows.filter(pa.array(keep))


def _lists(rows: pa.Table, column: str) -> list[Codes]:
    """Return a column of lists as arrays, without a copy."""
    if not rows.num_rows:
        return []
    chunk = rows[column].chunk(0)
    return np.split(chunk.values.to_numpy(), chunk.offsets.to_numpy()[1:-1])


def _array(texts: Sequence[Codes]) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate([np.empty(0, np.uint32), *texts]))


def _num_tokens(rows: pa.Table) -> int:
    return sum(len(chunk.values) for name in ("text", "title") for chunk in rows[name].chunks)
