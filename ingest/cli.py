"""The intake's own commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from catalog.cli import Json, show
from catalog.settings import Config

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()


Switch: TypeAlias = Literal["true", "false", "yes", "no", "1", "0"]
ON = ("true", "yes", "1")


@app.command(rich_help_panel="Jobs")
def preprocess(
    source: Annotated[Path, typer.Option("--input", metavar="DIR", help="HTML, text, Markdown and JSONL files.")],
    target: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the Parquet files go.")],
    clean: Annotated[Switch, typer.Option(case_sensitive=False, help="Apply the cleaning rules.")] = "true",
    annotate: Annotated[Switch, typer.Option(case_sensitive=False, help="Find entities and relations.")] = "false",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its cleaning_rules, extract, annotation_schema and models apply."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a folder of files into cleaned and annotated Parquet, without a home."""
    from ingest import preprocess as job

    loaded = Config.load(config) if config else Config({})
    show(job.preprocess(source, target, loaded, clean in ON, annotate in ON), as_json, _render)


@app.command(rich_help_panel="Look")
def rules(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Its cleaning_rules apply.")] = None,
    as_json: Json = False,
) -> None:
    """List the cleaning rules in the order they run, your own among them, and which are off."""
    from ingest.rules import shipped_rules
    from ingest.settings import IngestSettings

    cleaning = (Config.load(config) if config else Config({})).section(IngestSettings).cleaning_rules
    on = cleaning.all_rules()
    off = [rule for rule in (*shipped_rules(), *cleaning.rules) if rule.name not in {other.name for other in on}]
    rows = [
        {"name": rule.name, "on": rule in on, "languages": rule.languages, "blocks": rule.blocks, "about": rule.about}
        for rule in (*on, *off)
    ]
    show({"rules": rows}, as_json, _render_rules)


def _render_rules(result: dict[str, Any], console: "Console") -> None:
    from rich.table import Table

    table = Table("rule", "", "languages", "about", box=None, header_style="bold")
    for rule in result["rules"]:
        table.add_row(rule["name"], "" if rule["on"] else "off", ", ".join(rule["languages"]) or "all", rule["about"])
    console.print(table)


def _render(result: dict[str, Any], console: "Console") -> None:
    counts = ", ".join(f"{rows} {name}" for name, rows in result["tables"].items())
    console.print(f"{result['output']}: {counts}", highlight=False)
    for reason, rows in result["rejects"].items():
        console.print(f"  turned away: {rows} {reason}", highlight=False)
    for what in ("languages", "rule_hits"):
        counts = ", ".join(f"{name} {count:,}" for name, count in result[what].items())
        console.print(f"  {what.replace('_', ' ')}: {counts or 'none'}", highlight=False, soft_wrap=True)
