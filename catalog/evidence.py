"""Everything a home knows of one URL or id: rows by key, the crawler's frontier, the versions of the model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from catalog.config_file import read_mapping
from catalog.errors import Corrupt
from catalog.home import View
from catalog.schema import TABLES
from catalog.settings import LAST_CONFIG

Row = dict[str, Any]
MAX_REDIRECTS = 10
HEAVY = {"text", "analysis_text", "blocks", "vector", "webp", "data"}  # columns that no story tells
COLUMNS = {table: [name for name in schema.names if name not in HEAVY] for table, schema in TABLES.items()}
COLUMNS["transcripts"] = [name for name in TABLES["transcripts"].names if name != "segments"]


@dataclass
class Evidence:
    """The live rows of each table that speak of one subject, each once."""

    view: View
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def look(self, table: str, column: str, values: Iterable[str | None]) -> list[Row]:
        """Add the live rows whose key column is among `values`; return those that were found."""
        wanted = {value for value in values if value}
        if not wanted:
            return []
        found: list[Row] = self.view.lookup(table, column, wanted, COLUMNS[table]).to_pylist()
        known = self.rows.setdefault(table, [])
        known += [row for row in found if row not in known]
        return found

    def values(self, table: str, column: str) -> set[str]:
        """Return the values of one column over the rows found so far."""
        return {row[column] for row in self.rows.get(table, ()) if row[column]}


def gather(view: View, subjects: Sequence[str]) -> Evidence:
    """Follow URLs and ids from table to table: page, document and media, what was made of them, examples, rejects."""
    found = Evidence(view)
    look, values = found.look, found.values
    look("examples", "example_id", subjects)
    for column, known in (("document_id", values("examples", "document_id")), ("page_id", set()), ("url", set())):
        look("documents", column, {*subjects, *known})
    look("media", "media_id", subjects)
    look("media", "url", subjects)
    look("pages", "url", subjects)
    look("pages", "page_id", {*subjects, *values("documents", "page_id"), *values("media", "page_id")})
    look("media", "url", values("pages", "url"))
    look("documents", "page_id", values("pages", "page_id"))
    documents, media = values("documents", "document_id"), values("media", "media_id")
    look("text_features", "document_id", documents)
    look("image_features", "media_id", media)
    look("transcripts", "media_id", media)
    look("annotations", "subject_id", documents | media)
    look("duplicates", "record_id", documents | media)
    look("duplicates", "kept_id", documents | media)
    look("reviews", "subject_id", documents | media)
    look("reviews", "other_id", documents | media)
    look("examples", "document_id", documents)
    _examples_of_media(found, media)
    look("rejects", "url", subjects)
    look("rejects", "record_id", {*subjects, *values("pages", "page_id"), *documents, *media})
    return found


def _examples_of_media(found: Evidence, media: set[str]) -> None:
    """Add the examples in which one of these media stands, by way of the documents that refer to its URL."""
    referring = Evidence(found.view)
    referring.look("documents", "media.url", found.values("media", "url"))
    examples = referring.look("examples", "document_id", referring.values("documents", "document_id"))
    known = found.rows.setdefault("examples", [])
    for example in examples:
        if example not in known and media & {segment["ref_id"] for segment in example["segments"] or ()}:
            known.append(example)


@dataclass(frozen=True)
class Visit:
    """What the crawler's frontier says of one URL."""

    url: str
    state: str  # queued, leased, done, held or dead
    outcome: str | None
    detail: str | None
    target: str | None
    fetched_at: datetime | None
    referrer: str | None


def visits(root: Path, url: str) -> list[Visit]:
    """Return what the crawler's frontier knows of a URL and of those it redirects to; raise Corrupt, InputError."""
    return [visit for point in entry_points(group="headrace.visits") for visit in point.load()(root, url)]


def model_repository(root: Path) -> Path:
    """Return where model versions are kept: where the configuration that last ran says, else below the root."""
    path = root / LAST_CONFIG
    given = read_mapping(path) if path.is_file() else {}
    said = ((given.get("monitoring") or {}).get("versioning") or {}).get("repository")
    return Path(said).expanduser().absolute() if said else root / "models"


def versions(root: Path, examples: Iterable[str], rounds: Mapping[str, Any]) -> list[Row]:
    """Return the model versions that trained on one of these examples, or came of one of these rounds, oldest first.

    `times` is how often a version's plan takes one of the examples; plans take replayed examples too.
    """
    repository = model_repository(root)
    folders = repository / "versions"
    trained = _trained(folders, sorted(set(examples)))
    promoted = repository / "promoted"
    current = promoted.read_text(encoding="utf-8").strip() if promoted.is_file() else None
    found = []
    for path in folders.glob("*/manifest.json"):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise Corrupt(f"{path}: is no manifest: {error}; restore it from the repository in {repository}") from error
        times = trained.get(path.parent.name, 0)
        if times or manifest.get("round") in rounds:
            name = manifest["version"]
            made = {key: manifest.get(key) for key in ("created", "base", "round")}
            found.append({"version": name, **made, "promoted": name == current, "times": times})
    return sorted(found, key=lambda row: (row["created"] or "", row["version"]))


def _trained(folders: Path, examples: Sequence[str]) -> dict[str, int]:
    """Count, by version, how often its plan takes one of these examples."""
    plans = sorted(str(path) for path in folders.glob("*/plan.parquet"))
    if not plans or not examples:
        return {}
    import duckdb  # most stories do without

    query = "SELECT filename, count(*) FROM read_parquet(?, filename = true) WHERE list_contains(?, row_id) GROUP BY 1"
    with duckdb.connect() as db:
        try:
            rows = db.execute(query, [plans, list(examples)]).fetchall()
        except duckdb.Error as error:
            raise Corrupt(f"{folders}: a plan cannot be read: {str(error).splitlines()[0]}") from error
    return {Path(name).parent.name: int(count) for name, count in rows}
