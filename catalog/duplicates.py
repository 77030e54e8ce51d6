"""The steward's side of dedup: which decisions and proposals there are, two records side by side, and a last word."""

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import pyarrow as pa

from catalog import schema, sql, verdicts
from catalog.decisions import DECIDED, NO_DECISION, Verdict
from catalog.errors import InputError
from catalog.home import Home, View
from catalog.ids import make_id
from catalog.ledger import now
from catalog.review import REVIEW
from catalog.urls import canonical

if TYPE_CHECKING:
    from rich.console import Console

Row: TypeAlias = dict[str, Any]
KINDS = ("exact", "minhash", "semantic", "image", "audio")
STATES = ("proposed", "decided", "accepted", "rejected")
CONTEXT = 1  # paragraphs around a difference
# The last decision on each pair, with what was said of it; the newest first.
PAIRS = """
    WITH said AS (
        SELECT subject_id, other_id, arg_max(verdict, (seq, review_id)) AS verdict,
               arg_max(who, (seq, review_id)) AS who, arg_max(comment, (seq, review_id)) AS comment
        FROM reviews JOIN live USING (batch_id) WHERE other_id IS NOT NULL GROUP BY ALL
    ), last AS (
        SELECT record_id, kept_id, max_by(duplicates, seq) AS row, max(seq) AS seq
        FROM duplicates JOIN live USING (batch_id) WHERE kind NOT IN ('superseded', 'kept') GROUP BY ALL
    )
    SELECT record_id, kept_id, row.kind, row.method, row.score, row.threshold, row.model, row.revision,
           row.record_batch, row.kept_batch, seq, who, comment,
           CASE verdict WHEN 'duplicate' THEN 'accepted' WHEN 'distinct' THEN 'rejected'
                        ELSE coalesce(row.state, 'decided') END AS state
    FROM last LEFT JOIN said ON subject_id = record_id AND other_id = kept_id"""


def listed(home: Home, kinds: Sequence[str], states: Sequence[str], limit: int) -> dict[str, Any]:
    """Return the newest decisions of some kinds and states (all if none are named), and how many there are of each."""
    view = home.view()
    chosen = f"""
        SELECT * FROM pairs WHERE (kind IN {_any(kinds, KINDS)}) AND (state IN {_any(states, STATES)})
        ORDER BY seq DESC, score, record_id LIMIT {limit:d}"""  # noqa: S608 — of known words
    with _pairs(view) as db:
        found = _counted(db)
        rows = db.sql(chosen).to_arrow_table().to_pylist()
    return {"counts": found, "pairs": _located(view, rows)}


def totals(view: View) -> dict[str, dict[str, int]]:
    """Count the rows of decisions by kind and by what dedup said; what stewards said is left to `listed`."""
    text = "SELECT kind, coalesce(state, 'decided'), count(*) FROM duplicates GROUP BY ALL ORDER BY ALL"
    with sql.connect(view, {"duplicates"}) as db, sql.reading("duplicates"):
        return _nested(db.execute(text).fetchall())


def problems(view: View) -> list[str]:
    """Name decisions that no dedup writes: of an unknown kind or state, below their threshold, without their model."""
    text = f"""
        SELECT DISTINCT batch_id, CASE
            WHEN kind NOT IN {_any((), (*KINDS, *NO_DECISION))} THEN 'a decision of the unknown kind ' || kind
            WHEN coalesce(state, 'decided') NOT IN ('decided', 'proposed') THEN 'a decision in the state ' || state
            WHEN score < threshold - 1e-9 THEN kind || ' decisions below their threshold'
            WHEN kind IN ('semantic', 'image') AND coalesce(model, '') = '' THEN kind || ' decisions without a model'
        END AS said FROM duplicates WHERE said IS NOT NULL ORDER BY ALL"""  # noqa: S608 — of known words
    with sql.connect(view, {"duplicates"}) as db, sql.reading("duplicates"):
        return [f"dedup batch {batch} holds {said}" for batch, said in db.execute(text).fetchall()]


@contextmanager
def _pairs(view: View) -> Iterator[duckdb.DuckDBPyConnection]:
    with sql.connect(view, {"duplicates", "reviews"}) as db, sql.reading("duplicates"):
        db.execute(f"CREATE VIEW pairs AS {PAIRS}")
        yield db


def _counted(db: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    return _nested(db.execute("SELECT kind, state, count(*) FROM pairs GROUP BY ALL ORDER BY ALL").fetchall())


def _nested(rows: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for kind, state, number in rows:
        found.setdefault(kind, {})[state] = number
    return found


def _any(words: Sequence[str], known: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{word}'" for word in known if not words or word in words) + ")"


def shown(home: Home, subject: str, kept: str | None = None) -> dict[str, Any]:
    """Return the decisions on a record, given by id or URL, with both records and how their texts differ."""
    view = home.view()
    rows = _pairs_of(view, subject, kept)
    described = _described(view, {row[name] for row in rows for name in ("record_id", "kept_id")})
    pairs = _located(view, rows)
    for pair in pairs:
        one, other = described.get(pair["record_id"], {}), described.get(pair["kept_id"], {})
        pair |= {"record": one, "kept": other, "difference": _difference(other.get("text"), one.get("text"))}
    return {"subject": subject, "pairs": pairs}


def judge(home: Home, subject: str, kept: str | None, verdict: Verdict, by: tuple[str, str]) -> dict[str, Any]:
    """Record a steward's last word on a record's pairs, or the one with `kept`, `by` being who says it and why.

    Readers heed it at once; the next dedup batch brings back what was set aside, and decides again about what was
    dropped for a record that now is. Saying it twice changes nothing.
    """
    rows = _pairs_of(home.view(), subject, kept)
    pairs = sorted({(row["record_id"], row["kept_id"]) for row in rows})
    return {"verdict": verdict.value, "pairs": pairs, "new": say(home, pairs, verdict, by)}


def say(home: Home, pairs: Collection[tuple[str, str]], verdict: Verdict, by: tuple[str, str]) -> int:
    """Record a verdict on (record id, kept id) pairs; return how many it changed."""
    before = verdicts.read(home.view(), "subject_id", [record for record, _ in pairs])
    new = sorted(pair for pair in pairs if before.get(pair, Verdict.WITHDRAWN) != verdict)
    if not new:
        return 0
    moment = now()
    common = {"verdict": verdict.value, "who": by[0], "comment": by[1], "time": moment}
    rows = [
        {
            "review_id": make_id("verdict", *pair, verdict, moment.isoformat()),
            "subject_id": pair[0],
            "other_id": pair[1],
            **common,
        }
        for pair in new
    ]
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["review_id"])), schema=schema.body("reviews"))
    home.publish_origin(REVIEW, make_id("verdicts", *table["review_id"].to_pylist()), len(rows), {"reviews": table}, {})
    return len(rows)


def _pairs_of(view: View, subject: str, kept: str | None) -> list[Row]:
    """Return the last decision on each pair whose record is named by id or URL; raise InputError if there is none."""
    url = canonical(subject) or subject
    ids = {subject}
    for table, column in (("documents", "document_id"), ("media", "media_id")):
        ids |= set(view.lookup(table, "url", [url], [column])[column].to_pylist())
    rows = view.lookup("duplicates", "record_id", ids).to_pylist()
    seqs = view.state.published
    last: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: seqs[row["batch_id"]].seq):
        if row["kind"] not in NO_DECISION and kept in (None, row["kept_id"]):
            last[row["record_id"], row["kept_id"]] = row
    if not last:
        which = f" with {kept}" if kept else ""
        raise InputError(f"{subject}: no decision{which} on it; see 'headrace duplicates list', or 'headrace why'")
    said = verdicts.read(view, "subject_id", ids)
    named: dict[str, str] = {Verdict.DUPLICATE: "accepted", Verdict.DISTINCT: "rejected"}
    return [
        {**row, "seq": seqs[row["batch_id"]].seq, "state": named.get(said.get(pair, ""), row["state"] or DECIDED)}
        for pair, row in last.items()
    ]


def _located(view: View, rows: Sequence[Row]) -> list[Row]:
    """Give decisions the URLs of both records."""
    ids = {row[name] for row in rows for name in ("record_id", "kept_id")}
    urls: dict[str, str] = {}
    for table, column in (("documents", "document_id"), ("media", "media_id")):
        found = view.lookup(table, column, ids, [column, "url"])
        urls |= dict(sorted(zip(found[column].to_pylist(), found["url"].to_pylist(), strict=True), reverse=True))
    names = ("record_id", "kept_id", "kind", "method", "score", "threshold", "model", "revision", "state", "seq")
    return [
        {**{name: row[name] for name in names}, "url": urls.get(row["record_id"]), "kept_url": urls.get(row["kept_id"])}
        for row in rows
    ]


def _described(view: View, ids: set[str]) -> dict[str, Row]:
    """Return what people compare of documents and media: text, or size and picture, or words and length."""
    tables = {
        "documents": ("document_id", ["document_id", "title", "text", "language", "fetched_at"]),
        "image_features": ("media_id", ["media_id", "width", "height", "phash"]),
        "thumbnails": ("media_id", ["media_id", "webp"]),
        "transcripts": ("media_id", ["media_id", "duration", "language", "text"]),
    }
    found: dict[str, Row] = {}
    for table, (column, columns) in tables.items():
        for row in view.lookup(table, column, ids, columns).to_pylist():
            found.setdefault(row.pop(column), {}).update(row)
    return found


def _difference(before: str | None, after: str | None) -> list[str]:
    """Return a unified diff of two texts by paragraph; nothing where there are not two."""
    if not before or not after:
        return []
    kept, record = ([line for line in text.splitlines() if line.strip()] for text in (before, after))
    return list(difflib.unified_diff(kept, record, "kept", "record", lineterm="", n=CONTEXT))


def render_list(result: dict[str, Any], console: "Console") -> None:
    """Print a line for each pair, then how many there are."""
    for pair in result["pairs"]:
        console.print(_line(pair), highlight=False, markup=False, soft_wrap=True)
    for kind, states in result["counts"].items():
        told = ", ".join(f"{number:,} {state}" for state, number in states.items())
        console.print(f"{kind}: {told}", style="dim", highlight=False, markup=False)
    if not result["counts"]:
        console.print("no record stands for another")


def render_show(result: dict[str, Any], console: "Console") -> None:
    """Print each pair: how it was found, and what differs."""
    for pair in result["pairs"]:
        console.print(_line(pair), highlight=False, markup=False, soft_wrap=True)
        for name in ("record", "kept"):
            console.print(f"  {name}: {facts(pair[name])}", highlight=False, markup=False, soft_wrap=True)
        for line in pair["difference"]:
            console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)


def render_verdict(result: dict[str, Any], console: "Console") -> None:
    """Print what was said of which pairs."""
    for record, kept in result["pairs"]:
        console.print(f"{record} and {kept}: {result['verdict']}", highlight=False, markup=False)
    if not result["new"]:
        console.print("said before: nothing changed", highlight=False)


def facts(record: Row) -> str:
    """Say in a line what a record is."""
    size = f"{record['width']}x{record['height']}" if record.get("width") else None
    length = f"{record['duration']:.1f} s" if record.get("duration") is not None else None
    words = f"{len(record['text'].split())} words" if record.get("text") else None
    title = f"'{record['title']}'" if record.get("title") else None
    return ", ".join(part for part in (title, size, record.get("phash"), length, record.get("language"), words) if part)


def _line(pair: Row) -> str:
    how = f"{pair['kind']} by {pair['method']}, score {pair['score']:.3f} (at least {pair['threshold']:.3f})"
    model = f", {pair['model']}" if pair["model"] else ""
    ends = [f"{pair['record_id']} {pair['url'] or ''}".strip(), f"{pair['kept_id']} {pair['kept_url'] or ''}".strip()]
    return f"{pair['state']}: {ends[0]} of {ends[1]}: {how}{model}"


def as_json(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what JSON cannot hold: the bytes of pictures."""
    hidden = {"webp"}
    pairs = [
        {
            name: {key: item for key, item in value.items() if key not in hidden} if isinstance(value, dict) else value
            for name, value in pair.items()
        }
        for pair in result["pairs"]
    ]
    shown_as: dict[str, Any] = json.loads(json.dumps({**result, "pairs": pairs}, default=str))
    return shown_as
