"""`headrace models`: what was trained, from what, how good it is, and which version is promoted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.cli import Json, Root, existing, show

if TYPE_CHECKING:
    from rich.console import Console

    from trainer.registry import Registry

app = typer.Typer()
models_app = typer.Typer(no_args_is_help=True, help="Look at model versions.")
app.add_typer(models_app, name="models", rich_help_panel="Models")


@models_app.command("list")
def list_versions(root: Root = None, as_json: Json = False) -> None:
    """List every model version, oldest first, with its held-out perplexity."""
    registry = _registry(root)
    promoted = registry.promoted()
    name = promoted["version"] if promoted else None
    rows = [
        {
            **{key: manifest[key] for key in ("version", "created", "base", "metrics")},
            "promoted": manifest["version"] == name,
        }
        for manifest in registry.versions()
    ]
    show({"versions": rows}, as_json, _render_list)


@models_app.command("show")
def show_version(
    version: Annotated[str, typer.Argument(help="A version's name, such as v3.")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show one version: inputs, settings, metrics before and after, the gate's reasons, a sample."""
    show(_registry(root).version(version), as_json, _render_version)


@models_app.command("ablate")
def ablate_features(
    model: Annotated[Path, typer.Argument(help="The folder of a model of LLaVA's kind.", metavar="FOLDER")],
    limit: Annotated[int, typer.Option(min=1, help="How many examples.")] = 50,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Measure what pictures are worth to a soft-token model: its loss with, without and with others' features."""
    home, config = existing(root)
    from trainer import ablation

    show(ablation.ablate(home, config, model, limit), as_json, ablation.render)


@app.command("balance", rich_help_panel="Models")
def show_balance(
    by: Annotated[str | None, typer.Option(help="source_class, source, language or licence.")] = None,
    share: Annotated[list[str] | None, typer.Option(help="Such as news=0.5; may be repeated.")] = None,
    temperature: Annotated[float | None, typer.Option(help="1: as they are; larger: towards equal shares.")] = None,
    max_repeats: Annotated[int | None, typer.Option(help="How often an epoch may take one row.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show which shares the next round's mix would have, by the configured balance or another one; train nothing."""
    home, config = existing(root)
    from trainer import shares
    from trainer.settings import BalanceArgs, TrainerSettings

    given = {"by": by, "shares": _shares(share), "temperature": temperature, "max_repeats": max_repeats}
    asked = {name: value for name, value in given.items() if value is not None}
    configured = config.section(TrainerSettings).balance.model_dump()
    show(shares.preview(home, config, BalanceArgs.parse(configured | asked, "balance")), as_json, shares.render)


def _shares(given: list[str] | None) -> dict[str, float] | None:
    """Read options such as news=0.5."""
    shares = {}
    for one in given or ():
        value, _, share = one.rpartition("=")
        try:
            shares[value] = float(share)
        except ValueError as error:
            raise typer.BadParameter(f"--share {one}: write it as VALUE=SHARE, such as news=0.5") from error
    return shares or None


def _registry(root: Root) -> "Registry":
    from trainer.job import registry_of
    from trainer.settings import TrainerSettings

    home, config = existing(root)
    return registry_of(home.root, config.section(TrainerSettings))


def _render_list(result: dict[str, Any], console: "Console") -> None:
    from rich.table import Table

    if not result["versions"]:
        console.print("no model versions yet; run 'headrace train CONFIG'")
        return
    table = Table("version", "created", "base", "held-out perplexity", "older", "promoted", box=None)
    for row in result["versions"]:
        metrics = [_arrow(row["metrics"], part) for part in ("new", "old")]
        table.add_row(row["version"], row["created"][:19], row["base"], *metrics, "yes" if row["promoted"] else "")
    console.print(table)


def _render_version(manifest: dict[str, Any], console: "Console") -> None:
    sample, gate = manifest["sample"], manifest["gate"]
    verdict = "promoted" if gate["promoted"] else "not promoted"
    lines = [
        f"{manifest['version']}: {verdict} when it was made, {manifest['created'][:19]}, from {manifest['base']}",
        *(f"  {reason}" for reason in gate["reasons"]),
        f"perplexity  new {_arrow(manifest['metrics'], 'new')}  older {_arrow(manifest['metrics'], 'old')}",
        f"steps       {manifest['steps']['steps']} of {manifest['steps']['planned_steps']}",
        f"inputs      {len(manifest['inputs'])} fuse batches, round {manifest['round']}",
        f"prompt      {sample['prompt']}",
        f"before      {sample['before']}",
        f"after       {sample['after']}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _arrow(metrics: dict[str, Any], part: str) -> str:
    before, after = metrics["before"].get(part), metrics["after"].get(part)
    return f"{_perplexity(before)} → {_perplexity(after)}" if before and after else "–"


def _perplexity(scores: dict[str, Any]) -> str:
    return "diverged" if scores["perplexity"] is None else f"{scores['perplexity']:.2f}"
