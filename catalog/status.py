"""What a home holds and what waits, from the ledger and the tables' own totals; no row of text is read."""

import time
from collections import Counter, defaultdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import duplicates, pipeline, sql
from catalog.home import Home, View, pending
from catalog.ledger import State
from catalog.schema import TABLES
from catalog.settings import Config

if TYPE_CHECKING:
    from rich.console import Console

SOURCES = """
    SELECT coalesce(source_class, 'unclassified') AS class, count(*) AS pages,
           count(*) / sum(count(*)) OVER () AS share,
           max(fetched_at) AS last_fetched
    FROM pages GROUP BY 1 ORDER BY 2 DESC, 1"""


def status(home: Home, config: Config) -> dict[str, Any]:
    """Return rows, batches, files and bytes by table, rejects, waiting batches, and how sources stand."""
    view = home.view()
    return {
        "tables": tables(view),
        "rejects": rejects(view.state),
        "pending": {
            stage.name: len(pending(view.state, stage, config)) for stage in pipeline.enabled(config) if stage.reads
        },
        "duplicates": duplicates.totals(view),
        "sources": sources(view),
        "freshness": freshness(home.root, config),
    }


def tables(view: View) -> dict[str, dict[str, int]]:
    """Count each table: rows and batches that are live, files and bytes that are stored, live or not."""
    state = view.state
    rows: Counter[str] = Counter({"batches": len(state.rows)})
    batches: Counter[str] = Counter({"batches": len(state.live)})
    for row in state.live.values():
        written = {**row.outputs, "rejects": sum(row.rejects.values())}
        rows.update(written)
        batches.update(table for table, count in written.items() if count)
    found = {}
    for name in ("batches", *TABLES):
        pinned = view.pinned(name)
        found[name] = {
            "rows": rows[name],
            "batches": batches[name],
            "files": len(pinned.urls) if pinned else 0,
            "bytes": pinned.num_bytes if pinned else 0,
        }
    return found


def rejects(state: State) -> dict[str, dict[str, int]]:
    """Count the live batches' rejects by stage and reason, most frequent first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in state.live.values():
        found[row.stage].update(row.rejects)
    return {stage: dict(counts.most_common()) for stage, counts in sorted(found.items()) if counts}


def sources(view: View) -> dict[str, dict[str, Any]]:
    """Return each source class's number and share of live pages, and when the last of them was fetched."""
    with sql.connect(view, ["pages"]) as db, sql.reading("pages"):
        rows = db.sql(SOURCES).to_arrow_table().to_pylist()
    return {row.pop("class"): {name: sql.jsonable(value) for name, value in row.items()} for row in rows}


def freshness(root: Path, config: Config) -> dict[str, dict[str, Any]]:
    """Return each source's URLs by state, the share of its pages that is fresh, and when one was last fetched."""
    found: dict[str, dict[str, Any]] = {}
    for point in entry_points(group="headrace.freshness"):
        found |= point.load()(root, config, time.time())
    return found


def _told(name: str, source: dict[str, Any]) -> str:
    fresh = f"{source['fresh_share']:.0%} fresh" if source["fresh_share"] is not None else "none stored"
    kind = source["class"] or "no longer configured"
    share = f", share {source['share']:g}" if source["share"] is not None else ""
    states = "".join(f", {source[state]:,} {state}" for state in ("waiting", "held", "dead") if source[state])
    last = f", last {source['last_success']}" if source["last_success"] else ""
    return f"source {name} ({kind}{share}): {source['stored']:,} pages, {fresh}{states}{last}"


def render(result: dict[str, Any], console: "Console") -> None:
    """Print tables, rejects, what waits, and where pages came from."""
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(*("table", "rows", "batches", "files", "bytes"), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, counts in result["tables"].items():
        if counts["rows"]:
            size = decimal(counts["bytes"])
            table.add_row(name, f"{counts['rows']:,}", f"{counts['batches']:,}", f"{counts['files']:,}", size)
    console.print(table)
    for stage, reasons in result["rejects"].items():
        turned_away = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        console.print(f"rejected by {stage}: {turned_away}", highlight=False)
    for kind, states in result["duplicates"].items():
        told = ", ".join(f"{count:,} {state}" for state, count in states.items())
        console.print(f"duplicates, {kind}: {told}", highlight=False)
    for name, source in result["sources"].items():
        line = f"source class {name}: {source['pages']:,} pages ({source['share']:.1%}), last {source['last_fetched']}"
        console.print(line, highlight=False, markup=False)
    for name, source in result["freshness"].items():
        console.print(_told(name, source), highlight=False, markup=False)
    waiting = {stage: count for stage, count in result["pending"].items() if count}
    line = ", ".join(f"{stage} {count:,}" for stage, count in waiting.items())
    console.print(f"batches waiting: {line}" if waiting else "nothing waits", highlight=False)
