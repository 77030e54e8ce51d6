"""Where visits end: in a segment, or in the frontier alone when nothing changed; and how segments reach the ledger.

Commit order, so that a kill at any point loses and doubles nothing: the segment is synced; the frontier notes it (and
syncs what it learned before); the frontier marks its URLs done; the file moves into the warehouse; its batch is
published; the frontier forgets the segment. `recover` takes up whatever was left on that way.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from catalog import failpoint
from catalog.ids import page_id
from ingest.fetch import Failure, Response, identity
from ingest.frontier import OK, Frontier, Kind, Settled, Task
from ingest.segments import (
    Origin,
    SegmentWriter,
    crawl_records,
    reason_of,
    reject_member,
    resource_member,
    response_member,
    salvage,
    seal_file,
    store_segment,
)
from ingest.settings import NetworkSettings

log = logging.getLogger("headrace")
STOP = ""

Publish = Callable[[str], None]  # given a sealed segment's path in the warehouse; called in a thread


class Recorder:
    """Writes what visits brought into segments and takes the segments to the ledger."""

    def __init__(self, folder: Path, warehouse: str, frontier: Frontier, network: NetworkSettings) -> None:
        self._folder = folder
        self._warehouse = warehouse
        self._frontier = frontier
        self._network = network
        self._writer: SegmentWriter | None = None
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._unsealed: dict[str, str] = {}  # payloads of local records that the frontier does not know yet
        self._records: set[tuple[str, str]] = set()  # records of archives and tables that it does not know yet
        self._read: dict[str, int] = {}  # files that were read up to a position whose records are not sealed yet
        self.counts: Counter[str] = Counter()  # fetched, unchanged, and each reason

    async def keep(self, task: Task, response: Response, content_type: str, origin: Origin, date: float) -> None:
        """Store a payload, unless it is the one that the URL had before."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(response.body).hexdigest())
        if self._is_stored(task, sha256, origin):
            self.unchanged(task, date, origin.etag, origin.last_modified)
            return
        if origin.status is None:  # a file or a row of a table, not an answer of a server
            arguments = (task.url, response.body, content_type, sha256, origin, date)
            member = await asyncio.to_thread(resource_member, *arguments)
        else:
            member = await asyncio.to_thread(response_member, response, content_type, sha256, origin, date)
        self.counts["fetched"] += 1
        self._append(member)

    def _is_stored(self, task: Task, sha256: str, origin: Origin) -> bool:
        """Say whether a payload is the one that the URL had before; note it as being stored where it is not."""
        if origin.file:
            record = (origin.file, page_id(task.url, sha256))
            if record in self._records or self._frontier.readings.holds(*record):
                return True
            self._records.add(record)
        if sha256 in (task.payload_sha256, self._unsealed.get(task.url)):
            return True
        if not task.host:
            self._unsealed[task.url] = sha256
        return False

    def finished(self, path: str, position: int) -> None:
        """Note that a file was read to its end, once everything taken from it is sealed."""
        self._read[path] = position
        if self._writer is None:
            self._settle_files()

    def _settle_files(self) -> None:
        self._frontier.readings.advance(self._read)
        for path in self._read:
            self._frontier.readings.forget(path)
        self._read.clear()

    def reject(self, task: Task, failure: Failure, origin: Origin, date: float) -> None:
        """Store why a URL brought nothing, unless that was so the last time."""
        if task.outcome == failure.reason:
            self._frontier.settle(Settled(task.url, failure.reason, date, failure.detail, etag=origin.etag))
            self.counts["unchanged"] += 1
            return
        self.counts[failure.reason] += 1
        self._append(reject_member(task.url, failure, origin, date))

    def unchanged(self, task: Task, date: float, etag: str | None, last_modified: str | None) -> None:
        """Note that a URL still holds what is stored."""
        self._frontier.settle(Settled(task.url, OK, date, None, etag, last_modified))
        self.counts["unchanged"] += 1

    def _append(self, member: bytes) -> None:
        if self._writer is None:
            self._writer = SegmentWriter(self._folder, identity(self._network))
        self._writer.append(member)
        failpoint.reach("record")
        full = self._writer.num_bytes >= self._network.segment_bytes
        if full or self._writer.num_records >= self._network.segment_records:
            self.seal()

    def seal(self) -> None:
        """Close the open segment, if there is one, mark what it holds as done and line it up for the ledger."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        sha256 = writer.seal()
        failpoint.reach("seal")
        self._frontier.sealed(sha256, writer.path.name)
        self._settle(sha256, writer.path)
        self._settle_files()
        self._unsealed.clear()
        self._records.clear()
        self._queue.put_nowait((sha256, writer.path.name))

    def _settle(self, sha256: str, staged: Path) -> None:
        failpoint.reach("sealed")
        items: list[tuple[Task, Settled]] = []
        progress: dict[str, int] = {}
        records: list[tuple[str, str]] = []
        for task, settled, file, index in _outcomes(staged):
            items.append((task, settled))
            if file is not None and index is not None:
                progress[file] = max(progress.get(file, 0), index + 1)
            if file is not None and settled.payload_sha256:
                records.append((file, page_id(task.url, settled.payload_sha256)))
        self._frontier.applied(sha256, items, progress, records)
        failpoint.reach("applied")

    async def publish_all(self, publish: Publish) -> None:
        """Take sealed segments into the warehouse and the ledger, one after another, until `finish`."""
        while True:
            sha256, name = await self._queue.get()
            if sha256 == STOP:
                return
            path = await asyncio.to_thread(store_segment, self._folder / name, self._warehouse, sha256)
            failpoint.reach("stored")
            await asyncio.to_thread(publish, path)
            self._frontier.published(sha256)

    def finish(self) -> None:
        """Seal what is open and let `publish_all` end when it is through."""
        self.seal()
        self._queue.put_nowait((STOP, ""))

    def recover(self) -> int:
        """Take up segments that an earlier run left unpublished or was still writing; return how many."""
        left = self._frontier.unpublished()
        for sha256, name, state in left:
            if state == "sealed":
                self._settle(sha256, self._folder / name)
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
            self._settle(sha256, staged)
            self._queue.put_nowait((sha256, staged.name))
            recovered += 1
        return recovered


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
                record.url, OK, date, None, meta.get("etag"), meta.get("last_modified"), meta["sha256"]
            )  # fmt: skip
        yield task, settled, meta.get("file"), meta.get("index")
