"""`headrace snapshots`: look at earlier states of a home, compare them, go back to one."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.cli import Json, Root, existing, show, user

app = typer.Typer()
snapshots_app = typer.Typer(no_args_is_help=True, help="List, compare, name and restore snapshots.")
app.add_typer(snapshots_app, name="snapshots", rich_help_panel="Care")
Snapshot = Annotated[str, typer.Argument(help="A seq of the ledger, or a tag.", metavar="SEQ|TAG")]


@snapshots_app.command("list")
def list_snapshots(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List snapshots, newest first: what each changed, live batches and rows, tags."""
    home, _ = existing(root)
    from catalog import snapshots

    show(snapshots.snapshots(home, limit), as_json, snapshots.render_list)


@snapshots_app.command("diff")
def diff_snapshots(
    first: Snapshot,
    second: Annotated[str | None, typer.Argument(help="Another; default: now.", metavar="SEQ|TAG")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Compare two snapshots: rows by table, and how the shares of languages, sources, licences and labels moved."""
    home, _ = existing(root)
    from catalog import drift

    show(drift.diff(home, first, second), as_json, drift.render)


@snapshots_app.command("tag")
def tag_snapshot(
    name: Annotated[str, typer.Argument(help="A word.")],
    at: Annotated[str | None, typer.Option(help="The seq or tag to name; default: now.", metavar="SEQ|TAG")] = None,
    move: Annotated[bool, typer.Option("--move", help="Take the name from the snapshot that has it.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Give a snapshot a name."""
    home, _ = existing(root)
    from catalog import snapshots

    show(snapshots.tag(home, name, at, move), as_json, snapshots.render_tag)


@snapshots_app.command("rollback")
def roll_back(
    to: Snapshot,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Make every table show what it showed at a snapshot; reviews, feedback and removals stay. Can be undone."""
    home, _ = existing(root)
    from catalog import snapshots

    show(snapshots.rollback(home, to, dry_run), as_json, snapshots.render_rollback)


@app.command(rich_help_panel="Care")
def purge(  # noqa: PLR0913 — one parameter an option
    url: Annotated[str | None, typer.Option(help="Every version of this URL.")] = None,
    host: Annotated[str | None, typer.Option(help="Everything of this host and of those below it.")] = None,
    sha256: Annotated[str | None, typer.Option("--hash", help="Everything with this payload or text.")] = None,
    record: Annotated[str | None, typer.Option("--id", help="One page, document, medium or example.")] = None,
    cluster: Annotated[str | None, typer.Option(help="A record by its id, and all its duplicates.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    who: Annotated[str | None, typer.Option(help="Who orders it; default: the user of this machine.")] = None,
    forget_set: Annotated[
        Path | None, typer.Option(help="Write the examples that go to this JSONL file, for unlearning.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Finish takedowns that were killed.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Take something down for good: rows, archives, indexes, frontier; it cannot come back. Prints a receipt."""
    options = {"url": url, "host": host, "hash": sha256, "id": record, "cluster": cluster}
    given = [(kind, value) for kind, value in options.items() if value]
    if len(given) != (0 if resume else 1):
        raise typer.BadParameter("give one of --url, --host, --hash, --id and --cluster, or --resume alone")
    if not (dry_run or resume or reason.strip()):
        raise typer.BadParameter("say why with --reason; the tombstone keeps it")
    home, config = existing(root)
    from catalog import purge as purging

    if resume:
        told = purging.resume(home, config)
    elif dry_run:
        told = purging.preview(home, given[0][0], given[0][1])  # type: ignore[arg-type]
    else:
        order = purging.Order(given[0][0], given[0][1], reason.strip(), who or user())  # type: ignore[arg-type]
        told = purging.purge(home, config, order, forget_set)
    show(told, as_json, purging.render)


@app.command(rich_help_panel="Care")
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Merge small files, forget old table versions, remove what nothing needs; safe while jobs run."""
    home, config = existing(root)
    from catalog import maintain as maintaining

    show(maintaining.maintain(home, config.catalog.maintenance, dry_run), as_json, maintaining.render)


@app.command(rich_help_panel="Care")
def scoreboard(
    short: Annotated[bool, typer.Option("--short", help="A few minutes instead of hours.")] = False,
    only: Annotated[list[int] | None, typer.Option(help="Measure this figure alone; may be given again.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the twelve figures of reliability on this machine; exit 1 if a target is missed."""
    from catalog import scoreboard as measuring

    result = measuring.scoreboard(only or (), short, output)
    show(result, as_json, measuring.render)
    if not result["ok"]:
        raise typer.Exit(1)
