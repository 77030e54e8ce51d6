"""What changed between two snapshots: rows by table, and how the shares of languages, sources and labels moved."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from catalog import sql
from catalog.home import Home, View
from catalog.schema import ROW_ID, TABLES
from catalog.snapshots import resolve

if TYPE_CHECKING:
    from rich.console import Console

# By table, the columns whose shares are compared; `list.field` takes that field of every struct in a list.
FACETS: dict[str, tuple[str, ...]] = {
    "pages": ("source", "source_class", "licence", "content_type"),
    "documents": ("language", "source", "source_class", "licence"),
    "media": ("kind", "source", "licence"),
    "annotations": ("entities.label", "relations.label", "topics.label"),
    "transcripts": ("language",),
    "duplicates": ("kind",),
    "examples": ("language", "source", "source_class", "licence", "split", "change"),
    "rejects": ("stage", "reason"),
}
SHOWN = 5  # values of a facet that people see; --json has all
BAR = 24


def diff(home: Home, first: str, second: str | None) -> dict[str, Any]:
    """Compare two snapshots, given by seq or tag (the second: now by default)."""
    state = home.ledger.refresh()
    a, b = resolve(state, first), state.last_seq if second is None else resolve(state, second)
    before, after = home.view(a), home.view(b)
    rows = {table: _rows(before, after, table) for table in TABLES}
    changed = [table for table, found in rows.items() if found["added"] or found["removed"]]
    facets: list[dict[str, Any]] = []
    if changed:
        both = {**before.state.live, **after.state.live}
        with sql.connect(after, changed, both.values()) as db, sql.reading(", ".join(changed)):
            _register(db, before, after)
            for table in changed:
                rows[table] |= _ids(db, table)
                facets += (_facet(db, table, facet) for facet in _known(table))
    return {
        "from": a,
        "to": b,
        "tables": {table: found for table, found in rows.items() if found["before"] or found["after"]},
        "facets": sorted(facets, key=lambda item: -item["drift"]),
    }


def _rows(before: View, after: View, table: str) -> dict[str, int]:
    """Count from the ledger alone; a batch's rows never change."""
    a, b = _batches(before, table), _batches(after, table)
    return {
        "before": sum(a.values()),
        "after": sum(b.values()),
        "added": sum(rows for batch, rows in b.items() if batch not in a),
        "removed": sum(rows for batch, rows in a.items() if batch not in b),
    }


def _batches(view: View, table: str) -> dict[str, int]:
    live = view.state.live.items()
    if table == "rejects":
        return {batch: sum(row.rejects.values()) for batch, row in live if row.rejects}
    return {batch: row.outputs[table] for batch, row in live if row.outputs.get(table)}


def _register(db: duckdb.DuckDBPyConnection, before: View, after: View) -> None:
    for name, view in (("before", before), ("after", after)):
        db.register(f"live_{name}", pa.table({"batch_id": pa.array(sorted(view.live_ids), pa.string())}))


def _ids(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    """Count the ids that only one side has: rows that were made again under other settings keep theirs."""

    def only(one: str, other: str) -> int:
        query = (
            f"SELECT count(*) FROM (SELECT {ROW_ID[table]} FROM {table} SEMI JOIN live_{one} USING (batch_id) "  # noqa: S608 — our names
            f"EXCEPT SELECT {ROW_ID[table]} FROM {table} SEMI JOIN live_{other} USING (batch_id))"
        )
        found = db.execute(query).fetchone()
        return int(found[0]) if found else 0

    return {"new_ids": only("after", "before"), "gone_ids": only("before", "after")}


def _known(table: str) -> Iterator[str]:
    return (facet for facet in FACETS.get(table, ()) if facet.partition(".")[0] in TABLES[table].names)


def _facet(db: duckdb.DuckDBPyConnection, table: str, facet: str) -> dict[str, Any]:
    """Compare a facet's shares; drift is the total variation distance, from 0 (the same) to 1 (nothing in common)."""
    name, _, field = facet.partition(".")
    value = f"unnest([item.{field} for item in {name}])" if field else name
    query = f"""
        WITH named AS (SELECT {value} AS value, batch_id FROM {table})
        SELECT coalesce(value, 'unknown'),
            count(*) FILTER (batch_id IN (SELECT batch_id FROM live_before)),
            count(*) FILTER (batch_id IN (SELECT batch_id FROM live_after))
        FROM named GROUP BY 1"""  # noqa: S608 — our names
    found = db.execute(query).fetchall()
    totals = [sum(row[side] for row in found) for side in (1, 2)]
    values = [
        {
            "value": row[0],
            "before": row[1],
            "after": row[2],
            "share_before": row[1] / totals[0] if totals[0] else 0.0,
            "share_after": row[2] / totals[1] if totals[1] else 0.0,
        }
        for row in found
    ]
    values.sort(key=lambda item: (-abs(item["share_after"] - item["share_before"]), item["value"]))
    moved = sum(abs(item["share_after"] - item["share_before"]) for item in values) / 2
    return {"table": table, "facet": facet, "drift": moved if all(totals) else 0.0, "values": values}


def render(result: dict[str, Any], console: "Console") -> None:
    """Print rows by table, then the facets that moved, with a bar for each value."""
    from rich.table import Table

    titles = (
        "table",
        f"rows at {result['from']}",
        f"rows at {result['to']}",
        "added",
        "removed",
        "new ids",
        "gone ids",
    )
    table = Table(*titles, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, found in result["tables"].items():
        counts = (found[key] for key in ("before", "after", "added", "removed"))
        ids = (found.get(key, 0) for key in ("new_ids", "gone_ids"))
        table.add_row(name, *(f"{count:,}" for count in (*counts, *ids)))
    console.print(table if result["tables"] else "no rows at either")
    for facet in result["facets"]:
        if facet["drift"] > 0:
            console.print(_facet_table(facet))


def _facet_table(facet: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    title = f"{facet['table']}.{facet['facet']}: drift {facet['drift']:.3f}"
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold")
    for item in facet["values"][:SHOWN]:
        shares = item["share_before"], item["share_after"]
        said = f"{shares[0]:6.1%} → {shares[1]:6.1%}"
        table.add_row(
            escape(str(item["value"])),
            said,
            *(_bar(share, style) for share, style in zip(shares, _STYLES, strict=True)),
        )
    hidden = len(facet["values"]) - SHOWN
    if hidden > 0:
        table.add_row(f"and {hidden} more", "", "", "")
    return table


_STYLES: Iterable[str] = ("dim", "cyan")


def _bar(share: float, style: str) -> str:
    return f"[{style}]{'█' * round(share * BAR) or '▏'}[/{style}]"
