"""`headrace review`: draw a sample of documents, record what people say of it, see whether it allows a release."""

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.cli import Json, Root, existing, show

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()
review_app = typer.Typer(no_args_is_help=True, help="Judge a sample of the documents by eye.")
app.add_typer(review_app, name="review", rich_help_panel="Care")

STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }
pre { white-space: pre-wrap; font: inherit; background: #f6f6f4; padding: 1em }
small { color: #555; overflow-wrap: anywhere }
"""


@review_app.command("sample")
def draw_sample(
    output: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Where to; an .html to read goes beside it.")],
    size: Annotated[int, typer.Option(min=1, help="How many documents.")] = 50,
    seed: Annotated[int, typer.Option(help="The same seed and documents give the same sample.")] = 0,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Draw documents in proportion to source class and language; fill in the verdicts, then record the file."""
    home, _ = existing(root)
    from catalog import files, review
    from catalog.errors import InputError

    found = review.sample(home, size, seed)
    rows = found.pop("rows")
    if not rows:
        raise InputError("there are no documents to review; run the extract stage first")
    page = output.with_suffix(".html")
    try:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        files.replace(str(output), lines.encode("utf-8", "replace"))
        files.replace(str(page), _page(found, rows).encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror}") from error
    show(found | {"documents": len(rows), "file": str(output), "page": str(page)}, as_json, _render_sample)


@review_app.command("record")
def record_verdicts(
    file: Annotated[Path, typer.Argument(help="A sample whose lines say pass or fail.", metavar="FILE")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Import the verdicts of a filled-in sample; recording a file again changes nothing."""
    home, _ = existing(root)
    from catalog import review

    show(review.record(home, file), as_json, _render_record)


@review_app.command("status")
def review_status(
    min_pass: Annotated[
        float | None, typer.Option(min=0, max=1, help="Default: the configuration's review.min_pass.")
    ] = None,
    sample: Annotated[str | None, typer.Option(help="Default: the sample recorded last.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Print the share that passes with its Wilson interval; exit 1 where its lower bound does not reach min_pass."""
    home, config = existing(root)
    from catalog import review

    settings = config.catalog.review
    if min_pass is not None:
        settings = settings.model_copy(update={"min_pass": min_pass})
    found = review.status(home, settings, sample)
    show(
        found,
        as_json,
        lambda result, console: console.print(
            review.verdict(result, settings), highlight=False, markup=False, soft_wrap=True
        ),
    )
    if not found["ok"]:
        raise typer.Exit(1)


def _render_sample(result: dict[str, Any], console: "Console") -> None:
    line = f"{result['documents']} of {result['population']:,} documents → {result['file']}; read {result['page']}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    for item in result["strata"]:
        line = f"  {item['source_class']}, {item['language']}: {item['drawn']} of {item['documents']:,}"
        console.print(line, highlight=False, markup=False)


def _render_record(result: dict[str, Any], console: "Console") -> None:
    counts = ", ".join(f"{result[name]} {name}" for name in ("pass", "fail", "open"))
    console.print(
        f"{result['file']}: {counts}{'' if result['new'] else '; recorded before'}", markup=False, highlight=False
    )


def _page(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    title = f"Sample {found['sample']}, {len(rows)} documents"
    parts = [f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"]
    for number, row in enumerate(rows, 1):
        hits = ", ".join(f"{hit['rule']} {hit['hits']}" for hit in row["rule_hits"] or ()) or "none"
        facts = f"{row['document_id']} · {row['url']} · {row['source_class']} · {row['language']} · rules: {hits}"
        parts.append(
            f"<h2>{number}. {escape(row['title'] or 'untitled')}</h2><small>{escape(facts)}</small>"
            f"<pre>{escape(row['text'] or '')}</pre>"
        )
    return "\n".join(parts)
