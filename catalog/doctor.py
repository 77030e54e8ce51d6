"""Look a home and this installation over, name what is wrong in plain words, rebuild what can be rebuilt."""

import importlib.util
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import catalog
from catalog import audit, models
from catalog.audit import Finding, verdict
from catalog.errors import ModelUnavailable
from catalog.home import Home
from catalog.settings import Config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

PACKAGES = ("annotate", "catalog", "ingest", "multimodal", "trainer")
OURS = "headrace"


def doctor(home: Home, config: Config, repair: bool = False) -> dict[str, Any]:
    """Run every check; with `repair`, rebuild the indexes that are wrong and check them again."""
    view = home.view()
    shards, damaged = audit.shards(home, view)
    findings = [audit.ledger(view.state), shards, *audit.rows(view, damaged)]
    findings += [_key_index(home, damaged, repair), _vector_indexes(home, repair)]
    owners = packages_distributions()
    findings += [
        ownership(owners, _folders()),
        faiss(owners),
        *(weights(config, task) for task in get_args(models.Task)),
    ]
    return {"ok": all(item.ok for item in findings), "checks": [asdict(item) for item in findings]}


def _key_index(home: Home, damaged: set[str], repair: bool) -> Finding:
    found = audit.key_index(home, home.view(), damaged)
    if found.ok:
        return found
    if damaged or not repair:  # an index cannot be built from shards that cannot be read
        first = "mend the shards first, then " if damaged else ""
        return Finding(found.check, False, f"{found.detail}; {first}run headrace doctor --repair")
    audit.rebuild_key_index(home)
    return _repaired(found, audit.key_index(home, home.view(), damaged))


def _vector_indexes(home: Home, repair: bool) -> Finding:
    state = home.view().state
    found = audit.vector_indexes(home, state)
    if found.ok or not repair:
        return found if found.ok else Finding(found.check, False, f"{found.detail}; run headrace doctor --repair")
    audit.drop_vector_indexes(home, state)
    return _repaired(found, audit.vector_indexes(home, state))


def _repaired(before: Finding, after: Finding) -> Finding:
    return Finding(after.check, after.ok, f"repaired ({before.detail}): {after.detail}" if after.ok else after.detail)


def _folders() -> dict[str, Path | None]:
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found[name] = Path(spec.origin).parent if spec and spec.origin else None
    return found


def ownership(owners: "Mapping[str, Sequence[str]]", folders: "Mapping[str, Path | None]") -> Finding:
    """Check that the five packages are headrace's alone and stand side by side: their names are not rare."""
    place = Path(catalog.__file__).parent.parent
    problems = []
    for name, folder in folders.items():
        strangers = sorted(set(owners.get(name, ())) - {OURS})
        if strangers:
            problems.append(
                f"package {name} also belongs to {', '.join(strangers)}; uninstall it or use a fresh environment"
            )
        elif folder is None:
            problems.append(f"package {name} is missing; reinstall headrace")
        elif folder.parent != place:
            problems.append(f"package {name} is taken from {folder}, not from {place}; something shadows headrace")
    return verdict("packages", problems, f"{', '.join(folders)} are headrace's, in {place}")


def faiss(owners: "Mapping[str, Sequence[str]]") -> Finding:
    """Check that exactly one distribution installed `faiss`: faiss-cpu and faiss-gpu overwrite each other."""
    found = sorted(set(owners.get("faiss", ())))
    if len(found) == 1:
        return Finding("faiss", True, f"installed by {found[0]}")
    if not found:
        return Finding("faiss", False, "not installed; pip install 'headrace[cpu]', or 'headrace[gpu]'")
    return Finding(
        "faiss", False, f"installed by {' and '.join(found)}, which overwrite each other; uninstall all but one"
    )


def weights(config: Config, task: models.Task) -> Finding:
    """Check the weights of the model that a task is set to use; a hub name is asked for on first use."""
    name = getattr(config.catalog.models, task)
    try:
        found = models.resolve(task, name)
    except ModelUnavailable as error:
        return Finding(f"model {task}", False, str(error))
    if found.path is None:
        return Finding(f"model {task}", True, f"on first use the hub is asked; without it: {models.remedy(task, name)}")
    return Finding(f"model {task}", True, f"{name} in {found.path}")


def render(result: dict[str, Any], console: "Console") -> None:
    """Print one line a check."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for item in result["checks"]:
        mark = "[green]ok[/green]" if item["ok"] else "[red]wrong[/red]"
        table.add_row(mark, escape(item["check"]), escape(item["detail"]))
    console.print(table)
    wrong = sum(not item["ok"] for item in result["checks"])
    console.print(
        "everything is in order" if result["ok"] else f"{wrong} of {len(result['checks'])} checks found something"
    )
