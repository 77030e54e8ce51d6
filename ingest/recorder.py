"""Where visits end: in a segment, or in the frontier alone when nothing changed; and how segments reach the ledger.

Commit order, so that a kill at any point loses and doubles nothing: the segment is synced; the frontier notes it (and
syncs what it learned before); the frontier marks its URLs done; the file moves into the warehouse; its batch is
published; the frontier forgets the segment. `recover` takes up whatever was left on that way.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from catalog import failpoint
from catalog.ids import page_id
from catalog.schema import Reason
from ingest.fetch import Failure, Response, identity
from ingest.frontier import OK, Frontier, Kind, Settled, Task, checkpoint
from ingest.members import Origin, reject_member, resource_member, response_member
from ingest.segment_rows import crawl_records, reason_of
from ingest.segments import SegmentWriter, salvage, seal_file, store_segment
from ingest.settings import NetworkSettings

log = logging.getLogger("headrace")
CHUNK = 200  # URLs marked as done at a stretch
LARGE_BYTES = 4 << 20  # records as large as this are made one at a time, since each is in memory twice

Publish = Callable[[str], None]  # given a sealed segment's path in the warehouse; called in a thread


@dataclass
class _Segment:
    """A segment that is open or waits to be sealed, and what the frontier does not know of it yet."""

    writer: SegmentWriter
    payloads: dict[str, str] = field(default_factory=dict)  # of local records, by URL
    records: set[tuple[str, str]] = field(default_factory=set)  # of archives and tables
    read: dict[str, int] = field(default_factory=dict)  # files that were read up to a position


class Recorder:
    """Writes what visits brought into segments and takes the segments to the ledger."""

    def __init__(self, folder: Path, warehouse: str, frontier: Frontier, network: NetworkSettings) -> None:
        self._folder = folder
        self._warehouse = warehouse
        self._frontier = frontier
        self._network = network
        self._segments: list[_Segment] = []  # not sealed yet, the open one last
        self._is_open = False
        self._queue: asyncio.Queue[_Segment | tuple[str, str] | None] = asyncio.Queue()
        self._large = asyncio.Lock()
        self.counts: Counter[str] = Counter()  # fetched, unchanged, and each reason

    async def keep(self, task: Task, response: Response, content_type: str, origin: Origin, date: float) -> None:
        """Store a payload, unless it is the one that the URL had before."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(response.body).hexdigest())
        if self._frontier.forgotten.payload(sha256) or self._frontier.forgotten.url(task.url):
            self.counts[Reason.PURGED] += 1
            self._frontier.settle(Settled(task.url, Reason.PURGED, date, "it was taken down"))
            return
        if self._is_stored(task, sha256, origin):
            self.unchanged(task, date, origin.etag, origin.last_modified, origin.rights)
            return
        async with self._large if len(response.body) > LARGE_BYTES else nullcontext():
            if origin.status is None:  # a file or a row of a table, not an answer of a server
                arguments = (task.url, response.body, content_type, sha256, origin, date)
                member = await asyncio.to_thread(resource_member, *arguments)
            else:
                member = await asyncio.to_thread(response_member, response, content_type, sha256, origin, date)
            self.counts["fetched"] += 1
            self._append(member)

    def _is_stored(self, task: Task, sha256: str, origin: Origin) -> bool:
        """Say whether this payload stands under this URL with these rights; note local ones that do not."""
        if origin.file:
            record = (origin.file, page_id(task.url, sha256))
            if any(record in one.records for one in self._segments) or self._frontier.readings.holds(*record):
                return True
            self._opened().records.add(record)
        if task.host:
            return sha256 == task.payload_sha256 and task.rights in (None, origin.rights)
        if sha256 == task.payload_sha256 or any(one.payloads.get(task.url) == sha256 for one in self._segments):
            return True
        self._opened().payloads[task.url] = sha256
        return False

    def finished(self, path: str, position: int) -> None:
        """Note that a file was read to its end, once everything taken from it is sealed."""
        if self._segments:
            self._segments[-1].read[path] = position
        else:
            self._settle_files({path: position})

    def _settle_files(self, read: Mapping[str, int]) -> None:
        self._frontier.readings.advance(read)
        for path in read:
            self._frontier.readings.forget(path)

    def reject(self, task: Task, failure: Failure, origin: Origin, date: float) -> None:
        """Store why a URL brought nothing, unless that was so the last time."""
        if task.outcome == failure.reason:
            self._frontier.settle(Settled(task.url, failure.reason, date, failure.detail, etag=origin.etag))
            self.counts["unchanged"] += 1
            return
        self.counts[failure.reason] += 1
        self._append(reject_member(task.url, failure, origin, date))

    def unchanged(
        self, task: Task, date: float, etag: str | None, last_modified: str | None, rights: str | None = None
    ) -> None:
        """Note that a URL still holds what is stored."""
        self._frontier.settle(Settled(task.url, OK, date, None, etag, last_modified, rights=rights))
        self.counts["unchanged"] += 1

    def _opened(self) -> _Segment:
        if not self._is_open:
            self._segments.append(_Segment(SegmentWriter(self._folder, identity(self._network))))
            self._is_open = True
        return self._segments[-1]

    def _append(self, member: bytearray) -> None:
        writer = self._opened().writer
        writer.append(member)
        failpoint.reach("record")
        if writer.num_bytes >= self._network.segment_bytes or writer.num_records >= self._network.segment_records:
            self.close_segment()

    def close_segment(self) -> None:
        """Line the open segment, if there is one, up to be sealed and published."""
        if self._is_open:
            self._is_open = False
            self._queue.put_nowait(self._segments[-1])

    async def publish_all(self, publish: Publish) -> None:
        """Seal segments and take them into the warehouse and the ledger, one after another, until `finish`."""
        while (item := await self._queue.get()) is not None:
            sha256, name = await self._seal(item) if isinstance(item, _Segment) else item
            path = await asyncio.to_thread(store_segment, self._folder / name, self._warehouse, sha256)
            failpoint.reach("stored")
            await asyncio.to_thread(publish, path)
            self._frontier.published(sha256)
            await asyncio.to_thread(checkpoint, self._frontier.path)

    async def _seal(self, segment: _Segment) -> tuple[str, str]:
        """Make a segment durable and mark what it holds as done, a few at a time, so that no host waits for it."""
        path = segment.writer.path
        sha256 = await asyncio.to_thread(segment.writer.seal)
        failpoint.reach("seal")
        self._frontier.sealed(sha256, path.name)
        failpoint.reach("sealed")
        held = await asyncio.to_thread(_Held.of, path)
        for first in range(0, len(held.items), CHUNK):
            self._frontier.settle_many(held.items[first : first + CHUNK])
            await asyncio.sleep(0)
        self._frontier.applied(sha256, (), held.progress, held.records)
        failpoint.reach("applied")
        self._settle_files(segment.read)
        self._segments.remove(segment)
        return sha256, path.name

    def finish(self) -> None:
        """Line up what is open and let `publish_all` end when it is through."""
        self.close_segment()
        self._queue.put_nowait(None)

    def recover(self) -> int:
        """Take up segments that an earlier run left unpublished or was still writing; return how many."""
        left = self._frontier.unpublished()
        for sha256, name, state in left:
            if state == "sealed":
                self._apply(sha256, self._folder / name)
            self._queue.put_nowait((sha256, name))
        names = {name for _, name, _ in left}
        recovered = len(left)
        for staged in sorted(self._folder.glob("*.warc.gz")) if self._folder.is_dir() else []:
            if staged.name in names:
                continue
            if not salvage(staged):
                staged.unlink()
                continue
            sha256 = seal_file(staged)
            self._frontier.sealed(sha256, staged.name)
            self._apply(sha256, staged)
            self._queue.put_nowait((sha256, staged.name))
            recovered += 1
        return recovered

    def _apply(self, sha256: str, staged: Path) -> None:
        held = _Held.of(staged)
        self._frontier.applied(sha256, held.items, held.progress, held.records)


@dataclass
class _Held:
    """What a sealed segment tells the frontier, read from the segment itself."""

    items: list[tuple[Task, Settled]] = field(default_factory=list)
    progress: dict[str, int] = field(default_factory=dict)  # of files, by path
    records: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, staged: Path) -> "_Held":
        held = cls()
        for task, settled, file, index in _outcomes(staged):
            held.items.append((task, settled))
            if file is not None and index is not None:
                held.progress[file] = max(held.progress.get(file, 0), index + 1)
            if file is not None and settled.payload_sha256:
                held.records.append((file, page_id(task.url, settled.payload_sha256)))
        return held


def _outcomes(staged: Path) -> Iterator[tuple[Task, Settled, str | None, int | None]]:
    """Read from a sealed segment what the frontier must know of each visit in it."""
    for record, meta in crawl_records("", str(staged)):
        kind: Kind = meta["kind"]
        task = Task(
            record.url, meta.get("host", ""), meta["source"], kind, meta["depth"], meta.get("referrer"),
            meta.get("scope", ""), 0,
        )  # fmt: skip
        date = record.date.timestamp()
        if record.kind == "metadata":
            reason, detail = reason_of(record)
            settled = Settled(record.url, reason, date, detail, etag=meta.get("etag"))
        else:
            settled = Settled(
                record.url, OK, date, None, meta.get("etag"), meta.get("last_modified"), meta["sha256"],
                meta.get("rights", ""),
            )  # fmt: skip
        yield task, settled, meta.get("file"), meta.get("index")
