"""`headrace annotate train`, `headrace labels …` and `headrace triples`: what people say and what comes of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.cli import ConfigPath, Json, Root, StageGroup, add_stage_command, existing, show

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()
annotate_app = typer.Typer(
    cls=StageGroup,
    subcommand_metavar="CONFIG | COMMAND [ARGS]...",
    help="Run the annotate stage alone, with a configuration; or train what it uses.",
)
add_stage_command(annotate_app, "annotate", "stage")
app.add_typer(annotate_app, name="annotate", rich_help_panel="One stage")

labels_app = typer.Typer(no_args_is_help=True, help="Label texts by hand: what to label, imports, agreement, exports.")
app.add_typer(labels_app, name="labels", rich_help_panel="Care")

KAPPAS = ("entities", "relations")
Labels = Annotated[list[Path] | None, typer.Option("--labels", help="JSONL of labels; may be given again.")]


@annotate_app.command("train")
def train(  # noqa: PLR0913 — one parameter an option
    output: Annotated[Path, typer.Option(help="A new folder, for the pipeline.")],
    labels: Labels = None,
    reviews: Annotated[
        Path | None, typer.Option(metavar="HOME", help="Also learn from the labels imported into this home.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="The spaCy pipeline to extend, with a parser and a recogniser.")
    ] = "en_core_web_sm",
    encoder: Annotated[
        str, typer.Option(help="The transformer to learn on: a packaged or hub name, or a folder.")
    ] = "all-MiniLM-L6-v2",
    test: Annotated[
        Path | None, typer.Option(help="JSONL of labels to score it on; otherwise a tenth of the labels, held out.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At least; small files are read more often.")] = 15,
    tuned_layers: Annotated[int, typer.Option(min=0, help="How many of the encoder's last layers learn too.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Fewer epochs where they would take longer.")] = 15,
    seed: Annotated[int, typer.Option(help="Another seed, another start and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a recogniser of entities and relations; `annotation_schema: {models: {en: DIR}}` then uses the folder."""
    from annotate.lesson import Lesson, Recipe
    from annotate.reviewed import reviewed
    from annotate.teach import teach

    said = reviewed(existing(reviews)[0].view()) if reviews else []
    lesson = Lesson(tuple(labels or ()), output, base, encoder, tuple(said), test)
    recipe = Recipe(epochs=epochs, tuned_layers=tuned_layers, minutes=minutes, seed=seed)
    show(teach(lesson, recipe, lambda line: print(line, file=sys.stderr)), as_json, _render_train)


@labels_app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="Labels as JSONL, or as a BIO file (.bio, .conll).", metavar="FILE")],
    who: Annotated[str, typer.Option(help="The annotator, where the file names none.")] = "",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Keep people's labels in the home, with Cohen's kappa of every two who labelled the same texts."""
    home, _ = existing(root)
    from annotate import reviewed

    show(reviewed.import_labels(home, file, who), as_json, _render_import)


@labels_app.command("agreement")
def agreement(root: Root = None, as_json: Json = False) -> None:
    """Print Cohen's kappa of every two annotators over words' BIO tags and over the relations of pairs."""
    home, _ = existing(root)
    from annotate import reviewed

    show(reviewed.agreement(home), as_json, _render_agreement)


@labels_app.command("queue")
def queue(  # noqa: PLR0913 — one parameter an option
    config: ConfigPath,
    output: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Correct it, then 'headrace labels import'.")],
    size: Annotated[int, typer.Option("-n", min=1, help="How many sentences.")] = 50,
    texts: Annotated[int, typer.Option(min=1, help="Of how many texts, drawn by seeded hash.")] = 200,
    seed: Annotated[int, typer.Option(help="Another seed draws other texts.")] = 0,
    language: Annotated[str | None, typer.Option(help="Only texts of this language, such as en.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write the sentences that the configured annotator is least sure of, with what it says of them."""
    from annotate.labelling import Choice, write_queue
    from catalog.settings import Config

    given = Config.load(config, root=str(root) if root else None)
    show(write_queue(given, output, size, Choice(texts, seed, language)), as_json, _render_queue)


@labels_app.command("export")
def export_labels(
    output: Annotated[Path, typer.Option(help="The file to write; .bio and .conll are BIO files, others JSONL.")],
    labels: Annotated[Path | None, typer.Option(help="Convert this file instead of reading a home.")] = None,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="What people said, instead of what the annotator says.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write annotations, or imported labels, as words with BIO tags or as JSONL of offsets."""
    from annotate.labelling import write_labels

    home = None if labels else existing(root)[0]
    show(write_labels(home, labels, reviewed, output), as_json, _render_export)


@app.command("triples", rich_help_panel="Look")
def triples(
    relation: Annotated[str | None, typer.Option(help="Only this relation, such as WORKS_FOR.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Only at least this sure.")] = 0.0,
    output: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Write JSONL there.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List who is related to whom, each with the sentence that says so and where it stands."""
    home, _ = existing(root)
    from annotate import triples as listing
    from annotate.annotated import annotated
    from annotate.labelling import write_rows

    found = listing.triples(annotated(home.view()), relation, min_score)
    if output is not None:
        show({"file": str(output), "triples": write_rows(output, found)}, as_json, _render_export)
    else:
        show({"triples": list(found)}, as_json, listing.render)


def _line(console: "Console", text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _render_import(result: dict[str, Any], console: "Console") -> None:
    again = "" if result["new"] else "; imported before"
    _line(console, f"{result['file']}: {result['labelled']} labelled, {result['open']} open{again}")
    _render_agreement({"pairs": result["agreement"]}, console)


def _render_agreement(result: dict[str, Any], console: "Console") -> None:
    for pair in result["pairs"]:
        said = ", ".join(f"{name} {'–' if pair[name] is None else format(pair[name], '.3f')}" for name in KAPPAS)
        _line(console, f"{' and '.join(pair['who'])}, {pair['texts']} texts: Cohen's kappa of {said}")
    if not result["pairs"]:
        _line(console, "no two annotators have labelled the same text")


def _render_queue(result: dict[str, Any], console: "Console") -> None:
    line = f"{result['sentences']} sentences of {result['texts']} texts → {result['file']}"
    _line(console, f"{line}; correct them, set reviewed to true, then 'headrace labels import {result['file']}'")


def _render_export(result: dict[str, Any], console: "Console") -> None:
    (name,) = result.keys() - {"file"}
    _line(console, f"{result[name]} {name} → {result['file']}")


def _render_train(result: dict[str, Any], console: "Console") -> None:
    from rich.table import Table

    _line(console, f"{result['labelled']} labelled texts, {result['minutes']:.1f} minutes → {result['output']}")
    if not result["tested"]:
        return
    table = Table(f"on {result['tested']} texts", "precision", "recall", "F1", box=None)
    for kind in ("entities", "relations"):
        for name, scores in result[kind].items():
            row = (f"{scores[key]:.3f}" for key in ("precision", "recall", "f1"))
            table.add_row(f"{kind} {name}" if name == "all" else name, *row)
    console.print(table)
