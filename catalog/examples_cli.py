"""`headrace examples`: look at what the trainer gets."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.cli import Json, Root, existing, show

app = typer.Typer()
examples_app = typer.Typer(no_args_is_help=True, help="Look at fused examples.")
app.add_typer(examples_app, name="examples", rich_help_panel="Look")


@examples_app.command("show")
def show_example(
    subject: Annotated[str, typer.Argument(help="The id of an example or document, or a URL.")],
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Write the features for soft tokens there; --json names them in order."),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show an example as it was last fused: segments with their places, times, licences and models, and its text."""
    home, _ = existing(root)
    from catalog import examples

    show(examples.show(home, subject, features), as_json, examples.render)
