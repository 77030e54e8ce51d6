"""The command line: one command, whose words are the stages' names. Commands parse, call one function and render."""

import gc
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
import typer.core

from catalog.errors import HeadraceError
from catalog.settings import Config, StageName

if TYPE_CHECKING:
    from rich.console import Console

    from catalog.home import Home

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take the web in; turn it into fused, annotated, versioned datasets for a trainer which keeps learning.",
)
ROOT_VARIABLE = "HEADRACE_ROOT"
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, of the copy of click that typer carries
ConfigPath = Annotated[Path, typer.Argument(help="Configuration file, YAML or JSON; see configs/.", metavar="CONFIG")]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="The home; default: the configuration's root, or .headrace.", envvar=ROOT_VARIABLE),
]


def _utf8(value: str | None) -> str | None:
    """Refuse what the shell passed as bytes that are no UTF-8: no URL, id or query holds them."""
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("this is not UTF-8")
    return value


At = Annotated[str | None, typer.Option("--at", help="Look at an earlier snapshot.", metavar="SEQ|TAG", callback=_utf8)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]


def show(result: dict[str, Any], as_json: bool, render: "Callable[[dict[str, Any], Console], None]") -> None:
    """Print a result as one JSON document, or rendered for people, in whatever encoding standard output has."""
    if as_json:
        is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        sys.stdout.write(json.dumps(result, ensure_ascii=not is_unicode, default=str) + "\n")
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    from rich.console import Console

    render(result, Console())


def existing(root: Path | None) -> "tuple[Home, Config]":
    """Open a home that exists, with the configuration that last ran in it."""
    gc.disable()  # what is imported stays: looking for cycles in it would take a seventh of the command's time
    _leave_pandas_out()
    from catalog.home import Home

    gc.enable()
    config = last_configuration(root)
    return Home.open(config.catalog), config


class _NoPandas:
    """An import hook that finds pandas missing."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _leave_pandas_out() -> None:
    """Let pyarrow find no pandas when it makes its first array: to import it is a third of what an answer takes.

    Who imports pandas later, or asks pyarrow for a data frame, gets it.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        import pyarrow as pa

        pa.array([])
        sys.meta_path.remove(_NoPandas)


def last_configuration(root: Path | None) -> Config:
    """Return the configuration that last ran in a home; raise InputError if there is none."""
    from catalog.errors import InputError
    from catalog.run import last_config

    folder = root or Path(".headrace")
    if not any((folder / name).exists() for name in ("catalog.db", "config.json", "warehouse/data")):
        raise InputError(f"{folder}: no headrace home here; run 'headrace run CONFIG' first, or pass --root")
    return last_config(folder)


def user() -> str:
    """Name who runs this command: the account, or its number where it has no name, as in a container."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())


def _seq(home: "Home", at: str | None) -> int | None:
    """Return the seq that --at means."""
    from catalog import snapshots

    return None if at is None else snapshots.resolve(home.ledger.refresh(), at)


def _run(config: Path, root: Path | None, engine: str | None, as_json: bool, only: str | None) -> None:
    from catalog import run as running

    show(running.run(_load(config, root, engine), only), as_json, _render_run)


def _load(config: Path, root: Path | None, engine: str | None) -> Config:
    return Config.load(config, root=str(root) if root else None, engine=engine)


def _render_run(result: dict[str, Any], console: "Console") -> None:
    from catalog.run import describe
    from catalog.stage import StageReport

    for report in result["stages"]:
        console.print(describe(StageReport(**report)), highlight=False, markup=False, soft_wrap=True)
        for note in report["notes"]:
            console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"home {result['root']}, ledger at {result['seq']}", style="dim", highlight=False, markup=False)


Engine = Annotated[
    Literal["auto", "local", "ray"] | None,
    typer.Option(help="Where stages run; default: the configuration's engine. auto takes Ray from 5,000 rows."),
]


@app.command("run", rich_help_panel="Jobs")
def run_command(
    config: ConfigPath,
    root: Root = None,
    engine: Engine = None,
    again: Annotated[bool, typer.Option("--again", help="First bring back what a rollback turned off.")] = False,
    as_json: Json = False,
) -> None:
    """Run every stage that has something to do, in order."""
    from catalog import run as running

    show(running.run(_load(config, root, engine), again=again), as_json, _render_run)


class StageGroup(typer.core.TyperGroup):
    """A stage's word with commands of its own: `headrace annotate CONFIG` runs it, `headrace annotate train` trains."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what names none of the commands for the stage's own arguments."""
        own = not args or (args[0] not in self.commands and args[0] != "--help")
        return super().parse_args(ctx, ["stage", *args] if own else args)


def add_stage_command(group: typer.Typer, stage: str, name: str, **options: Any) -> None:
    """Add the command that runs one stage alone."""

    def command(config: ConfigPath, root: Root = None, engine: Engine = None, as_json: Json = False) -> None:
        _run(config, root, engine, as_json, stage)

    group.command(name, help=f"Run the {stage} stage alone.", **options)(command)


for _stage in get_args(StageName):
    add_stage_command(app, _stage, _stage, rich_help_panel="One stage")


@app.command(rich_help_panel="Jobs")
def demo(
    root: Annotated[Path, typer.Option("--root", help="Where the demo's home goes.")] = Path("headrace-demo"),
    engine: Engine = None,
    as_json: Json = False,
) -> None:
    """Run the whole chain on the demo site, offline, and say what to look at."""
    from catalog import demo as demonstration

    show(demonstration.run(root, engine or "local"), as_json, demonstration.render)


@app.command(rich_help_panel="Look")
def status(root: Root = None, as_json: Json = False) -> None:
    """Count tables, rejects by stage and reason, and batches that wait."""
    home, config = existing(root)
    from catalog import status as reporting

    show(reporting.status(home, config), as_json, reporting.render)


@app.command(rich_help_panel="Look")
def why(
    subject: Annotated[
        str, typer.Argument(help="A URL, or the id of a page, document, medium, example or batch.", callback=_utf8)
    ],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Tell the whole story of a URL or id."""
    home, _ = existing(root)
    from catalog import why as reporting

    show(reporting.why(home, subject), as_json, reporting.render)


@app.command(rich_help_panel="Look")
def search(  # noqa: PLR0913 — one parameter an option
    text: Annotated[str | None, typer.Option(help="Find what these words describe.", callback=_utf8)] = None,
    image: Annotated[Path | None, typer.Option(help="Find pictures like this file.")] = None,
    like: Annotated[str | None, typer.Option(help="Find records like this id.", callback=_utf8)] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    kind: Annotated[
        Literal["text", "image", "audio"], typer.Option(help="With --text: documents, pictures or recordings.")
    ] = "image",
    mode: Annotated[
        Literal["hybrid", "vectors", "words"], typer.Option(help="With --text: by meaning, by word, or both together.")
    ] = "hybrid",
    where: Annotated[
        str | None, typer.Option(help="SQL condition on the records, such as \"language = 'en'\".", callback=_utf8)
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Search by words, by picture or by example."""
    if sum(given is not None for given in (text, image, like)) != 1:
        raise typer.BadParameter("give one of --text, --image and --like")
    home, config = existing(root)
    from catalog import search as searching

    if text is not None:
        found = searching.by_text(home, config, text, searching.Query(kind, k, where, mode))
    elif image is not None:
        found = searching.by_image(home, config, image, searching.Query("image", k, where))
    else:
        found = searching.by_example(home, str(like), k, where)
    show(found, as_json, searching.render)


@app.command(rich_help_panel="Look")
def sql(
    query: Annotated[str, typer.Argument(help='For example "SELECT url, title FROM documents".', callback=_utf8)],
    at: At = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Query the live rows of every table with DuckDB."""
    home, _ = existing(root)
    from catalog import sql as querying

    show(querying.query(home, query, _seq(home, at)), as_json, querying.render)


@app.command(rich_help_panel="Look")
def export(
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    file_format: Annotated[
        Literal["jsonl", "parquet", "webdataset", "huggingface"], typer.Option("--format")
    ] = "parquet",
    where: Annotated[
        str | None, typer.Option(help="SQL condition on examples, such as \"language = 'en'\".", callback=_utf8)
    ] = None,
    at: At = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write the current examples out, byte-identical for the same snapshot."""
    home, config = existing(root)
    from catalog import export as exporting
    from catalog import review

    review.require(home, config.catalog.review)
    show(exporting.export(home, file_format, output, where, _seq(home, at)), as_json, exporting.render)


@app.command(rich_help_panel="Care")
def doctor(
    root: Root = None,
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild indexes, and tables from their shards.")] = False,
    as_json: Json = False,
) -> None:
    """Check every hash, ledger, tables, indexes and this installation; exit 1 if something is wrong."""
    config = last_configuration(root)
    from catalog import doctor as examining

    result = examining.examine(config, repair)
    show(result, as_json, examining.render)
    if not result["ok"]:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _root_options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log debugging detail to standard error.")] = False,
) -> None:
    if show_version:
        sys.stdout.write(f"headrace {version('headrace')}\n")
        raise typer.Exit
    _set_up_logging(verbose)


def _set_up_logging(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("headrace")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def _add_spokes() -> None:
    from catalog.care_cli import app as care
    from catalog.duplicates_cli import app as duplicates
    from catalog.examples_cli import app as examples
    from catalog.review_cli import app as review

    app.add_typer(care)
    app.add_typer(examples)
    app.add_typer(duplicates)
    app.add_typer(review)
    for point in sorted(entry_points(group="headrace.commands"), key=lambda point: point.name):
        app.add_typer(point.load())


def main() -> None:
    """Run the command line: exit 0 done, 1 a clear error, 2 wrong usage, 130 interrupted and resumable."""
    _add_spokes()
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except USAGE_ERROR as error:
        error.show()
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted; run the same command again to go on\n")
        sys.exit(130)
    except HeadraceError as error:
        _fail(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(error)


def _fail(error: Exception) -> None:
    """Print one line and exit 1; HEADRACE_DEBUG=1 shows where it came from."""
    if os.environ.get("HEADRACE_DEBUG"):
        raise error
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
