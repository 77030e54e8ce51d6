"""What the next round's mix would be: the share of each class or source before and after balancing."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from catalog.errors import InputError
from catalog.home import Home
from catalog.settings import Config
from trainer.balance import UNKNOWN, targets
from trainer.job import TRAIN
from trainer.plan import REPLAY
from trainer.selection import plan_of, select
from trainer.settings import BalanceArgs, TrainerSettings

if TYPE_CHECKING:
    from rich.console import Console


def preview(home: Home, config: Config, balance: BalanceArgs) -> dict[str, Any]:
    """Plan one epoch of the round that would come next and count its rows; without new batches, of one over all.

    Nothing is changed. Raise InputError where no column is named.
    """
    if balance.by is None:
        raise InputError(
            "balance.by is not set, and --by was not given; choose source_class, source, language or licence"
        )
    settings = config.section(TrainerSettings)
    one_epoch = settings.training_args.model_copy(update={"num_train_epochs": 1})
    settings = settings.model_copy(update={"balance": balance, "training_args": one_epoch})
    view = home.view()
    pending = home.todo(TRAIN, config, activate=False)
    consumed = view.state.consumed(TRAIN.name, None) if pending else frozenset()
    selection = select(view, pending or view.live("fuse"), consumed, settings)
    plan = plan_of(selection, f"{one_epoch.seed}/preview", settings).to_pylist()
    have = Counter(selection.values[row] for row in selection.new)
    wanted = targets(have, balance)
    new = Counter(selection.values[row["row_id"]] for row in plan if row["kind"] != REPLAY)
    replayed = Counter(selection.values.get(row["row_id"], UNKNOWN) for row in plan if row["kind"] == REPLAY)
    rows = [
        {
            "value": value, "examples": have[value], "share": _share(have, value), "target": wanted.get(value, 0.0),
            "planned": new[value], "planned_share": _share(new, value), "replayed": replayed[value],
        }
        for value in sorted({*have, *replayed})
    ]  # fmt: skip
    taken = {row["row_id"] for row in plan}
    return {
        **balance.model_dump(mode="json"),
        "pending_batches": len(pending),
        "examples": have.total(),
        "planned": new.total(),
        "replayed": replayed.total(),
        "left_out": len(selection.new.keys() - taken),
        "rows": rows,
    }


def _share(counts: Counter[str], value: str) -> float:
    return counts[value] / counts.total() if counts.total() else 0.0


def render(result: dict[str, Any], console: "Console") -> None:
    """Print the shares as a table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in (result["by"], "examples", "share", "target", "planned", "share", "replayed"):
        table.add_column(name, justify="left" if name == result["by"] else "right", overflow="fold")
    for row in result["rows"]:
        shares = [f"{row[name]:.1%}" for name in ("share", "target", "planned_share")]
        cells = (str(row["examples"]), *shares[:2], str(row["planned"]), shares[2], str(row["replayed"]))
        table.add_row(escape(row["value"]), *cells)
    console.print(table)
    which = f"{result['pending_batches']} fuse batches that wait" if result["pending_batches"] else "all fuse batches"
    line = f"one epoch over {which}: {result['examples']} examples, {result['planned']} planned"
    more = f", {result['left_out']} left out" if result["left_out"] else ""
    console.print(f"{line}, {result['replayed']} replayed{more}", style="dim", highlight=False)
