"""Snapshots: every `seq` of the ledger is one. List them, name them, go back to one and forth again.

Nothing is deleted by going back: rows of the ledger turn batches off and on, so going back is undone by going forth.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from catalog import pipeline
from catalog.errors import InputError
from catalog.home import Home
from catalog.ledger import Row, State, now
from catalog.settings import Config
from catalog.stage import Stage

if TYPE_CHECKING:
    from rich.console import Console

Counts = dict[str, int]
SHOWN = ("pages", "documents", "examples")  # tables with a column of their own in the list; --json has all
WIDE = 110  # columns of a terminal that has room for them


def resolve(state: State, name: str) -> int:
    """Return the seq that a number or a tag means; raise InputError for one that is not there."""
    if not name.isdecimal():
        if name in state.tags:
            return state.tags[name]
        known = f"there are {', '.join(sorted(state.tags))}" if state.tags else "there are none yet"
        raise InputError(f"{name}: no such tag, {known}; headrace snapshots list shows every seq")
    if not 0 <= int(name) <= state.last_seq:
        raise InputError(f"{name}: the ledger ends at seq {state.last_seq}; headrace snapshots list shows every seq")
    return int(name)


def table_rows(state: State) -> Counts:
    """Count the live rows of each table."""
    counts: Counter[str] = Counter()
    for row in state.live.values():
        counts.update({**row.outputs, "rejects": sum(row.rejects.values())})
    return {table: rows for table, rows in sorted(counts.items()) if rows}


def snapshots(home: Home, limit: int) -> dict[str, Any]:
    """Describe the newest `limit` snapshots, newest first: what each changed, and what was live then."""
    state = home.ledger.refresh()
    tags: dict[int, list[str]] = {}
    for name, seq in state.tags.items():
        tags.setdefault(seq, []).append(name)
    shown = []
    for row in reversed(state.rows[-limit:]):
        then = state.at(row.seq)
        shown.append(
            {
                "seq": row.seq,
                "time": row.time.isoformat(),
                "kind": row.kind,
                "change": _change(row),
                "batches": len(then.live),
                "rows": table_rows(then),
                "tags": sorted(tags.get(row.seq, ())),
            }
        )
    return {"snapshots": shown, "total": len(state.rows)}


def _change(row: Row) -> str:
    """Say in a few words what one row of the ledger did."""
    if row.kind == "tag":
        return f"tag {row.name} = {row.at_seq}"
    if row.kind == "publish":
        written = {**row.outputs, "rejects": sum(row.rejects.values())}
        return f"{row.stage}: " + (
            ", ".join(f"+{n:,} {table}" for table, n in sorted(written.items()) if n) or "no rows"
        )
    back = f" (back to {row.at_seq})" if row.at_seq else ""
    what = f"{len(row.targets)} batches" if row.targets else f"settings of {row.stage}"
    return f"{row.kind} {what}{back}"


def tag(home: Home, name: str, at: str | None, move: bool) -> dict[str, Any]:
    """Name a snapshot (the present one by default); raise InputError if the name is taken, unless it shall move."""
    if not name or name.isdecimal() or name != name.strip():
        raise InputError(f"tag {name!r}: a tag is a word; numbers mean a seq")

    def propose(state: State) -> list[Row]:
        if name in state.tags and not move:
            raise InputError(f"tag {name} names seq {state.tags[name]} already; pass --move to give it to another")
        seq = state.last_seq if at is None else resolve(state, at)
        return [Row(seq=0, kind="tag", stage="", time=now(), name=name, at_seq=seq)]

    row = home.ledger.append(propose)[0]
    return {"tag": name, "seq": row.at_seq}


def rollback(home: Home, to: str, dry_run: bool) -> dict[str, Any]:
    """Make what was live at a snapshot live again in every table, or only say what that would do.

    What people said or had removed (reviews, feedback, tombstones) stays as it is now.
    """
    state = home.ledger.refresh()
    seq = resolve(state, to)
    rows = _numbered(state, back_to(state, seq)) if dry_run else []
    if not dry_run:
        rows = home.ledger.append(lambda fresh: back_to(fresh, seq))
    after = State([*state.rows, *rows]) if dry_run else home.ledger.refresh()
    before = state.at(rows[0].seq - 1) if rows else state
    return {
        "from": before.last_seq,
        "to": seq,
        "seq": after.last_seq,
        "dry_run": dry_run,
        "revoked": _by_stage(after, rows, "revoke"),
        "activated": _by_stage(after, rows, "activate"),
        "settings": sorted({row.stage for row in rows if row.settings_hash}),
        "rows": {"before": table_rows(before), "after": table_rows(after)},
    }


def back_to(state: State, seq: int) -> list[Row]:
    """Return the ledger rows that make live what was live at `seq`, whether that lies behind or, after one, ahead."""
    then = state.at(seq)
    on_then = then.published.keys() - then.revoked
    published = {batch for batch, row in state.published.items() if not row.lasts}
    off, on = sorted(published - on_then - state.revoked), sorted(published & on_then & state.revoked)
    time = now()
    rows = [
        Row(0, kind, "", time, targets=tuple(found), at_seq=seq)
        for kind, found in (("revoke", off), ("activate", on))
        if found
    ]
    for stage in sorted({stage for stage, _ in state.activated}):
        wanted = _order(then, stage)
        if wanted and _order(state, stage)[-len(wanted) :] != wanted:  # the last wins, so their order has to come back
            rows += [Row(0, "activate", stage, time, settings_hash=recipe, at_seq=seq) for recipe in wanted]
    return rows


def _order(state: State, stage: str) -> list[str]:
    return [recipe for (name, recipe), _ in sorted(state.activated.items(), key=lambda item: item[1]) if name == stage]


def _numbered(state: State, rows: list[Row]) -> list[Row]:
    return [Row(**{**row.__dict__, "seq": state.last_seq + k}) for k, row in enumerate(rows, 1)]


def _by_stage(state: State, rows: list[Row], kind: str) -> Counts:
    found = Counter(state.published[batch].stage for row in rows if row.kind == kind for batch in row.targets)
    return dict(sorted(found.items()))


def held_back(state: State, stage: Stage, config: Config) -> list[str]:
    """Return a stage's batches that were rolled back and that its configured settings would give again."""
    recipe = pipeline.recipe(stage, config)
    rows = (state.published[batch] for batch in state.revoked if batch in state.published)
    return sorted(row.batch_id for row in rows if row.stage == stage.name and row.settings_hash == recipe)


def again(home: Home, config: Config) -> Mapping[str, int]:
    """Turn on again every batch that was rolled back and that the configured settings would give; count by stage."""

    def propose(state: State) -> list[Row]:
        held = [batch for stage in pipeline.enabled(config) for batch in held_back(state, stage, config)]
        return [Row(0, "activate", "", now(), targets=tuple(held))] if held else []

    return _by_stage(home.ledger.refresh(), home.ledger.append(propose), "activate")


def render_list(result: dict[str, Any], console: "Console") -> None:
    """Print one line a snapshot, newest first."""
    from rich.markup import escape
    from rich.table import Table

    shown = SHOWN if console.width >= WIDE else ()  # else the words of a change would stand below each other
    table = Table("seq", "time", "what", "batches", *shown, "all rows", "tags", box=None, header_style="bold")
    for column in table.columns:
        column.no_wrap = column.header == "time"
        column.justify = "left" if column.header in ("time", "what", "tags") else "right"
    for item in result["snapshots"]:
        counts = [item["batches"], *(item["rows"].get(name, 0) for name in shown), sum(item["rows"].values())]
        cells = (str(item["seq"]), item["time"][:16].replace("T", " "), item["change"], *(f"{n:,}" for n in counts))
        table.add_row(*(escape(cell) for cell in (*cells, ", ".join(item["tags"]))))
    console.print(table)
    hidden = result["total"] - len(result["snapshots"])
    if hidden:
        console.print(f"and {hidden:,} older; --limit shows more", style="dim", highlight=False)


def render_tag(result: dict[str, Any], console: "Console") -> None:
    """Print what a tag names now."""
    console.print(f"{result['tag']} names seq {result['seq']}", highlight=False, markup=False)


def render_rollback(result: dict[str, Any], console: "Console") -> None:
    """Print what was turned off and on, and how to undo it."""
    would = "would be " if result["dry_run"] else ""
    changed = False
    for name, said in (("revoked", "off"), ("activated", "on again")):
        for stage, count in result[name].items():
            console.print(f"{stage}: {count:,} batches {would}turned {said}", highlight=False)
            changed = True
    for stage in result["settings"]:
        console.print(f"{stage}: the settings of then {would}active again", highlight=False)
        changed = True
    if not changed:
        console.print(f"nothing to do: what was live at {result['to']} is live", highlight=False)
        return
    before, after = result["rows"]["before"], result["rows"]["after"]
    for table in sorted(before.keys() | after.keys()):
        if before.get(table, 0) != after.get(table, 0):
            console.print(f"  {table}: {before.get(table, 0):,} → {after.get(table, 0):,} rows", highlight=False)
    if not result["dry_run"]:
        undo = f"headrace snapshots rollback {result['from']}"
        console.print(
            f"ledger at {result['seq']}; what was turned off is not made again by later runs\n"
            f"undo with {undo}, or bring back what a configuration gives with headrace run CONFIG --again",
            style="dim", highlight=False, soft_wrap=True,
        )  # fmt: skip
