"""`headrace topics` and `headrace map`: what the live vectors show."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from catalog.cli import Json, Root, existing, show

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()
map_app = typer.Typer(no_args_is_help=True, help="Components and maps of the live vectors.")
app.add_typer(map_app, name="map", rich_help_panel="Look")

KindOption = Annotated[
    Literal["text", "image", "audio"], typer.Option(help="Vectors of documents, pictures or recordings.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def _number(value: str) -> str:
    if value != "auto" and not (value.isdecimal() and 1 <= int(value) <= 1000):
        raise typer.BadParameter("give a number from 1 to 1000, or auto")
    return value


@app.command(rich_help_panel="Look")
def topics(
    k: Annotated[
        str,
        typer.Option("-k", "--k", help="How many; auto: as many as separate best.", metavar="auto|N", callback=_number),
    ] = "auto",
    seed: Seed = 0,
    refit: Annotated[
        bool, typer.Option("--refit", help="Cluster anew; otherwise new documents join stored topics.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Cluster the documents by their vectors, and name each topic by its keywords."""
    home, _ = existing(root)
    from multimodal.topics import find_topics

    show(find_topics(home, None if k == "auto" else int(k), seed, refit), as_json, _render_topics)


@map_app.command("fit")
def fit(
    kind: KindOption = "text",
    components: Annotated[int, typer.Option(min=2, max=4096, help="At most so many.")] = 50,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Fit principal components with the vectors that came since, and say how much of the variance they explain."""
    home, _ = existing(root)
    from multimodal import pca
    from multimodal.points import read_points

    show(pca.fit(home.root, kind, read_points(home.view(), kind), components), as_json, _render_fit)


@map_app.command("draw")
def draw(  # noqa: PLR0913 — one parameter an option
    output: Annotated[Path, typer.Option(help="The file to write: .html, .png or .json.")],
    kind: KindOption = "text",
    method: Annotated[Literal["pca", "tsne", "umap"], typer.Option(help="umap needs the extra maps.")] = "tsne",
    color: Annotated[
        Literal["language", "source", "topic", "none"], typer.Option(help="What colours show.")
    ] = "source",
    limit: Annotated[int, typer.Option(min=3, help="Of more vectors, a sample.")] = 20_000,
    seed: Seed = 0,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Draw the live vectors on a plane."""
    home, _ = existing(root)
    from multimodal import maps

    made = maps.draw(home, kind, method, color, limit, seed)
    maps.write_map(made, output)
    show({key: value for key, value in made.items() if key != "points"} | {"output": str(output)}, as_json, _render_map)


def _render_topics(result: dict[str, Any], console: "Console") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("topic", "documents", "name", "nearest", box=None)
    for row in result["topics"]:
        nearest = "\n".join(str(item["title"])[:60] for item in row["examples"])
        table.add_row(str(row["topic"]), str(row["num_documents"]), escape(row["name"]), escape(nearest))
    console.print(table)
    how = "clustered now" if result["refitted"] else f"clustered at {result['fitted_seq']}; --refit clusters anew"
    console.print(f"{result['num_documents']} documents, {result['model']}, {how}", style="dim", markup=False)


def _render_fit(result: dict[str, Any], console: "Console") -> None:
    console.print(
        f"{result['num_components']} components of {result['num_vectors']} {result['kind']} vectors "
        f"({result['added']} new) of {result['model']} explain {result['explained_variance']:.1%} of the variance",
        markup=False, highlight=False,
    )  # fmt: skip


def _render_map(result: dict[str, Any], console: "Console") -> None:
    line = f"{result['num_points']} {result['kind']} vectors of {result['model']} → {result['output']}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
