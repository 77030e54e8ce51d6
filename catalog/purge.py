"""Takedown: tombstone first, then rows, archives, indexes, frontier and open rounds; a receipt with a proof at the end.

What is to go is written down before anything is changed, so a killed takedown is finished by the next one (or by
`headrace purge --resume`). Drivers whose work was planned before give it up: see `Publisher`.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from catalog import erase, evidence, failpoint, files, fulltext, ids, lease, near, proof, schema, vectors, victims
from catalog.collect import Collector
from catalog.errors import InputError
from catalog.home import Home
from catalog.keepers import keepers
from catalog.ledger import PURGE, now
from catalog.maintain import maintaining
from catalog.publish import WAITING
from catalog.settings import Config, MaintenanceSettings
from catalog.stage import Stage, StageReport
from catalog.tombstones import Forgotten, SubjectKind, keyed_hash, read_key
from catalog.vector_manifest import Manifest, manifests
from catalog.victims import Kind, Victims

if TYPE_CHECKING:
    from rich.console import Console

STAGE = Stage(PURGE, (), ("tombstones",), 1, lambda _: {}, lambda home, config: StageReport("purge"))
RECEIPTS = "receipts"
WRITING_HOURS = 0.1  # longer than anybody writes one file aside
TABLES = [name for name in schema.TABLES if name not in ("tombstones", "feedback")]


@dataclass(frozen=True)
class Order:
    """Who wants what taken down, and why."""

    kind: Kind
    value: str
    reason: str
    who: str


def preview(home: Home, kind: Kind, value: str) -> dict[str, Any]:
    """Say what a takedown would remove, and change nothing."""
    return {"dry_run": True, "kind": kind, **_summary(home, victims.find(home, kind, value))}


def purge(home: Home, config: Config, order: Order, forget_set: Path | None = None) -> dict[str, Any]:
    """Take something down for good; return the receipt. Raise InputError if a crawl or a training round is running.

    `forget_set` is where the examples go before they are removed, as JSON lines, for unlearning.
    """
    with _quiet(home, config):
        resumed = _resume(home, config)
        found = victims.find(home, order.kind, order.value)
        if forget_set is not None:
            _write_forget_set(home, found, forget_set)
        told = {"forget_set": str(forget_set) if forget_set else None, "resumed": resumed}
        receipt = _take_down(home, config, order, found, told)
        while (more := _published_meanwhile(home, order)) is not None:  # by drivers that had planned before
            _take_down(home, config, order, more, {"continues": receipt["id"]})
        return receipt


def _take_down(home: Home, config: Config, order: Order, found: Victims, told: Mapping[str, Any]) -> dict[str, Any]:
    """Write down what is to go, then do it."""
    said = {"kind": order.kind, "reason": order.reason, "who": order.who, **_summary(home, found), **told}
    waiting = {"told": said, "victims": victims.encode(found), "kind": order.kind,
               "value": victims.spelled(order.kind, order.value),
               "markers": [marker.hex() for marker in proof.markers(home, found)]}  # fmt: skip
    path = home.root / WAITING / f"{ids.make_id('purge', now().isoformat(), order.kind, order.value)}.json"
    files.replace(str(path), json.dumps(waiting).encode())
    failpoint.reach("purge-noted")
    return _carry_out(home, config, path)


def _published_meanwhile(home: Home, order: Order) -> Victims | None:
    try:
        found = victims.find(home, order.kind, order.value)
    except InputError:
        return None
    return found if found.removed else None


def resume(home: Home, config: Config) -> dict[str, Any]:
    """Finish takedowns that were killed; say how many."""
    with _quiet(home, config):
        return {"resumed": _resume(home, config)}


def _resume(home: Home, config: Config) -> int:
    left = sorted((home.root / WAITING).glob("*.json"))
    for path in left:
        _carry_out(home, config, path)
    return len(left)


def _quiet(home: Home, config: Config) -> ExitStack:
    stack = ExitStack()
    try:
        stack.enter_context(maintaining(home.root))
        for keeper in keepers():
            stack.enter_context(keeper.quiet(home, config))
    except BaseException:
        stack.close()
        raise
    return stack


def _carry_out(home: Home, config: Config, path: Path) -> dict[str, Any]:
    """Do what a waiting takedown says, from wherever a kill left it."""
    waiting = json.loads(path.read_text(encoding="utf-8"))
    found = victims.decode(waiting["victims"])
    _bury(home, path.stem, waiting, found)
    failpoint.reach("purge-tombstone")
    forgotten = Forgotten.of(home)
    told = {"id": path.stem, "time": datetime.now(UTC).isoformat(timespec="seconds"), "seq": home.view().seq}
    told |= waiting["told"]
    notes = path.with_suffix(".files")
    told["files"] = erase.Eraser(home, found.mask, victims.columns_of, notes).run(TABLES)
    _collect_unfinished(home)
    told["archived_records"] = _erase_records(home, found, path.with_suffix(".records"))
    home.publish_origin(STAGE, f"{path.stem} done", 0, {}, {})  # who looked at the tables before this gives up
    told |= _forget_in_indexes(home, config, found)
    for keeper in keepers():
        told |= keeper.forget(home, config, forgotten)
    failpoint.reach("purge-forgotten")
    told["proof"] = proof.search(home, [bytes.fromhex(marker) for marker in waiting["markers"]], path)
    files.replace(str(home.root / RECEIPTS / f"{path.stem}.json"), json.dumps(told, indent=1).encode())
    path.unlink()
    path.with_suffix(".records").unlink(missing_ok=True)
    return told


def _collect_unfinished(home: Home) -> None:
    """Remove what dead drivers left, which may hold it too: shards of unpublished batches, files half written."""
    Collector(home, MaintenanceSettings(grace_hours=WRITING_HOURS), time.time()).temporary_files()
    with lease.collecting(home.root) as leased:
        at_once = MaintenanceSettings(grace_hours=0, retention_hours=0)
        Collector(home, at_once, time.time()).unpublished(leased)


def _erase_records(home: Home, found: Victims, notes: Path) -> int:
    """Overwrite the archived records; which they are is written down before, since then they cannot be read."""
    if not notes.is_file():
        urls = frozenset(found.urls)
        archived = [one for segment in found.segments for one in erase.records_of(home.warehouse, segment, urls)]
        files.replace(str(notes), json.dumps(sorted({*found.records, *archived})).encode())
    members = [tuple(one) for one in json.loads(notes.read_text(encoding="utf-8"))]
    erase.erase_records(home.warehouse, members)
    return len(members)


def _bury(home: Home, name: str, waiting: Mapping[str, Any], found: Victims) -> None:
    """Publish the tombstones: from here on nothing of it comes in again."""
    key = read_key(home.warehouse)
    subjects: list[tuple[SubjectKind, str]] = [("url", url) for url in found.urls]
    subjects += [("host", waiting["value"])] if waiting["kind"] == "host" else []
    subjects += [("payload", sha256) for sha256 in found.payloads] + [("text", sha256) for sha256 in found.texts]
    if waiting["kind"] == "hash":
        subjects += [("payload", waiting["value"]), ("text", waiting["value"])]
    moment = now()
    rows = [
        {"tombstone_id": ids.make_id("tombstone", name, kind, subject), "subject": keyed_hash(key, kind, subject),
         "subject_kind": kind, "reason": waiting["told"]["reason"], "who": waiting["told"]["who"], "time": moment}
        for kind, subject in sorted(set(subjects))
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=schema.body("tombstones"))
    home.publish_origin(STAGE, name, len(rows), {"tombstones": table}, {"removed": found.removed})


def _forget_in_indexes(home: Home, config: Config, found: Victims) -> dict[str, int]:
    """Take vectors, words and band keys out; the key index follows the files by itself."""
    folder = home.root / "indexes"
    number = 0
    for path in manifests(folder):
        held = Manifest.decode(path)
        if held is not None:
            index = vectors.VectorIndex(folder, held.table, held.model, held.revision, home.settings.vectors)
            number += index.forget([*found.documents, *found.media])
    words = 0
    if (folder / fulltext.FILE).is_file():
        index_of_words = fulltext.FullText(folder)
        words = index_of_words.forget([*found.documents, *found.media])
        index_of_words.close()
    near.forget(home.root, config.catalog.dedup, [*found.documents, *found.media])
    view = home.view()
    for table in schema.KEYS:
        home.index.refresh(table, view.urls(table))
    return {"vectors": number, "full_text": words}


def _summary(home: Home, found: Victims) -> dict[str, Any]:
    models = evidence.versions(home.root, found.examples, {})
    return {
        "urls": len(found.urls), "rows": found.counts(), "records": len(found.records), "examples": len(found.examples),
        "models": [{"version": row["version"], "promoted": row["promoted"], "times": row["times"]} for row in models],
    }  # fmt: skip


def _write_forget_set(home: Home, found: Victims, path: Path) -> None:
    if path.resolve().is_relative_to(home.root.resolve()):
        raise InputError(f"--forget-set {path}: is inside the home, which is to forget it; name a file elsewhere")
    rows = home.view().lookup("examples", "example_id", found.examples, ["example_id", "text", "split"])
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows.sort_by("example_id").to_pylist()]
    try:
        files.replace(str(path), "".join(lines).encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"--forget-set {path}: cannot be written: {error.strerror}; name another file") from error


def render(told: dict[str, Any], console: "Console") -> None:
    """Print a preview or a receipt for people."""
    say: Callable[[str], None] = lambda line: console.print(line, highlight=False, markup=False)  # noqa: E731
    if "rows" not in told:
        say(f"{told['resumed']} interrupted takedowns finished")
        return
    verb = "would go" if told.get("dry_run") else "gone"
    say(f"{told['urls']} URLs, {told['records']} archived records, {told['examples']} examples {verb}")
    say("rows: " + (", ".join(f"{table} {rows:,}" for table, rows in told["rows"].items()) or "none"))
    for model in told["models"]:
        mark = ", promoted" if model["promoted"] else ""
        say(f"model {model['version']}{mark} was trained on it {model['times']} times")
    if "proof" in told:
        say(f"proof: {told['proof']['found']} traces left in {told['proof']['files']:,} files searched for "
            f"{told['proof']['markers']} markers")  # fmt: skip
        say(f"receipt {RECEIPTS}{os.sep}{told['id']}.json, tombstones at seq {told['seq']}")
