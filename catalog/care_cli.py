"""`headrace snapshots`: look at earlier states of a home, compare them, go back to one."""

from typing import Annotated

import typer

from catalog.cli import Json, Root, existing, show

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
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Merge small files, forget old table versions, remove what nothing needs; safe while jobs run."""
    home, config = existing(root)
    from catalog import maintain as maintaining

    show(maintaining.maintain(home, config.catalog.maintenance, dry_run), as_json, maintaining.render)
