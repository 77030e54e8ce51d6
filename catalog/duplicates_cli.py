"""`headrace duplicates`: see what dedup decided and proposes, look at two records, have the last word."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.cli import Json, Root, existing, show, user

app = typer.Typer()
duplicates_app = typer.Typer(no_args_is_help=True, help="See which records stand for others, and have the last word.")
app.add_typer(duplicates_app, name="duplicates", rich_help_panel="Care")
Subject = Annotated[str, typer.Argument(help="A document or medium, by id or URL.", metavar="ID|URL")]
Kept = Annotated[str | None, typer.Option(help="Only the pair with this record; default: all pairs.", metavar="ID")]
Reason = Annotated[str, typer.Option(help="Why; kept with the verdict.")]
Who = Annotated[str | None, typer.Option(help="Default: the user of this machine.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write the pairs side by side.", metavar="FILE.html")]


@duplicates_app.command("list")
def list_duplicates(
    kind: Annotated[list[str] | None, typer.Option(help="exact, minhash, semantic, image or audio.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="proposed, decided, accepted or rejected.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    html: HtmlFile = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List decisions and proposals, newest first, and count them by kind and state."""
    home, _ = existing(root)
    from catalog import duplicates

    _check("--kind", kind, duplicates.KINDS)
    _check("--state", state, duplicates.STATES)
    found = duplicates.listed(home, kind or (), state or (), limit)
    if html:
        ids = dict.fromkeys((pair["record_id"], pair["kept_id"]) for pair in found["pairs"])
        _write(html, [pair for one, kept in ids for pair in duplicates.shown(home, one, kept)["pairs"]])
    show(found, as_json, duplicates.render_list)


@duplicates_app.command("show")
def show_duplicate(subject: Subject, html: HtmlFile = None, root: Root = None, as_json: Json = False) -> None:
    """Show a record beside what stands for it: how that was found, and what differs."""
    home, _ = existing(root)
    from catalog import duplicates

    found = duplicates.shown(home, subject)
    if html:
        _write(html, found["pairs"])
    show(duplicates.as_json(found), as_json, duplicates.render_show)


@duplicates_app.command("reject")
def reject_duplicate(
    subject: Subject, kept: Kept = None, reason: Reason = "", who: Who = None, root: Root = None, as_json: Json = False
) -> None:
    """Say that two records are distinct: the one that was set aside counts again, and nobody decides so again."""
    _judge("distinct", (subject, kept), (who, reason), root, as_json)


@duplicates_app.command("accept")
def accept_duplicate(
    subject: Subject, kept: Kept = None, reason: Reason = "", who: Who = None, root: Root = None, as_json: Json = False
) -> None:
    """Say that a record is a duplicate, as proposed: readers leave it out."""
    _judge("duplicate", (subject, kept), (who, reason), root, as_json)


@duplicates_app.command("undo")
def undo_verdict(
    subject: Subject, kept: Kept = None, reason: Reason = "", who: Who = None, root: Root = None, as_json: Json = False
) -> None:
    """Withdraw what was said of a record: what dedup decided counts again."""
    _judge("withdrawn", (subject, kept), (who, reason), root, as_json)


def _judge(
    verdict: str, pair: tuple[str, str | None], said: tuple[str | None, str], root: Path | None, as_json: bool
) -> None:
    home, _ = existing(root)
    from catalog import duplicates
    from catalog.decisions import Verdict

    who, reason = said
    found = duplicates.judge(home, *pair, Verdict(verdict), (who or user(), reason))
    show(found, as_json, duplicates.render_verdict)


def _check(option: str, given: list[str] | None, known: tuple[str, ...]) -> None:
    for word in given or ():
        if word not in known:
            raise typer.BadParameter(f"{word!r} is none of {', '.join(known)}", param_hint=option)


def _write(path: Path, pairs: list[dict[str, Any]]) -> None:
    from catalog import files
    from catalog.duplicates_page import page
    from catalog.errors import InputError

    try:
        files.replace(str(path), page(pairs).encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"--html {path}: cannot be written: {error.strerror}") from error
