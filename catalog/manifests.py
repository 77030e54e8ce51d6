"""Which data files a table has, by its Iceberg manifests: none of them ever changes, so each is read once a process."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.utils.concurrent import ExecutorFactory


@dataclass(frozen=True)
class File:
    """A data file, and between which `batch_id`s its rows lie (None: not known)."""

    url: str
    least: str | None
    greatest: str | None

    def may_hold(self, batches: Sequence[str]) -> bool:
        """Tell whether it may hold rows of one of these batches, which are sorted."""
        place = bisect_left(batches, self.least) if self.least is not None else 0
        return place < len(batches) and (self.greatest is None or batches[place] <= self.greatest)


class Manifests:
    """Plans tables; what their manifests say is remembered for as long as their present snapshots name them."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[str, dict[str, tuple[File, ...]]]] = {}

    def plan(self, table: Table, batches: Iterable[str] | None) -> list[str]:
        """Return the sorted URLs of a table's data files that may hold rows of these batches (all: None).

        pyiceberg's own scans open every manifest anew, and their IN stops pruning above 200 ids.
        """
        snapshot = table.current_snapshot()
        if snapshot is None:
            return []
        listed, known = self._seen.get(table.name(), ("", {}))
        if listed != snapshot.manifest_list:
            known = _refreshed(table, snapshot.manifests(table.io), known)
            self._seen[table.name()] = snapshot.manifest_list, known
        wanted = None if batches is None else sorted(set(batches))
        found = (file for files in known.values() for file in files)
        return sorted({file.url for file in found if wanted is None or file.may_hold(wanted)})


def _refreshed(
    table: Table, manifests: Sequence[ManifestFile], known: dict[str, tuple[File, ...]]
) -> dict[str, tuple[File, ...]]:
    """Read those manifests that are not known; keep no others."""
    column = table.schema().find_field("batch_id").field_id
    new = [one for one in manifests if one.manifest_path not in known]
    read = ExecutorFactory.get_or_create().map(lambda one: _read(one, table.io, column), new)
    known = known | dict(zip((one.manifest_path for one in new), read, strict=True))
    return {one.manifest_path: known[one.manifest_path] for one in manifests}


def _read(manifest: ManifestFile, io: FileIO, column: int) -> tuple[File, ...]:
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    return tuple(_file(entry.data_file, column) for entry in entries)


def _file(file: DataFile, column: int) -> File:
    least, greatest = ((bounds or {}).get(column) for bounds in (file.lower_bounds, file.upper_bounds))
    return File(file.file_path, *(None if bound is None else bound.decode() for bound in (least, greatest)))
