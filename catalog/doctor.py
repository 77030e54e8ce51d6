"""Look a home and this installation over, name what is wrong in plain words, rebuild what can be rebuilt."""

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import catalog
from catalog import audit, duplicates, files, models, rebuild
from catalog.audit import Finding, verdict
from catalog.errors import Corrupt, ModelUnavailable
from catalog.home import Home, View, place_of
from catalog.keepers import keepers
from catalog.settings import Config
from catalog.store import Store
from catalog.tombstones import read_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

PACKAGES = ("annotate", "catalog", "ingest", "multimodal", "trainer")
OURS = "headrace"


def examine(config: Config, repair: bool = False) -> dict[str, Any]:
    """Check a home that may not even open; with `repair`, first rebuild what keeps it from opening."""
    root, warehouse = place_of(config.catalog)
    first = _opening(root, warehouse, config, repair)
    if not all(item.ok for item in first):
        shards, _ = audit.shards(warehouse, None)
        return _result([*first, shards, audit.segments(warehouse), *_installation(config)])
    try:
        home = Home.open(config.catalog)
        home.view()
    except Corrupt as error:  # the ledger's own files
        broken = Finding("ledger", False, f"{error}; restore the file from a backup")
        return _result([*first, broken, audit.shards(warehouse, None)[0], *_installation(config)])
    with home:
        return doctor(home, config, repair, tuple(first))


def doctor(home: Home, config: Config, repair: bool = False, before: "Sequence[Finding]" = ()) -> dict[str, Any]:
    """Run every check on an open home; with `repair`, rebuild the indexes that are wrong and check them again."""
    return _result([*before, *look_over(home, repair, bool(before)), *_installation(config)])


def look_over(home: Home, repair: bool = False, are_files_checked: bool = False) -> list[Finding]:
    """Run every check of what an open home holds."""
    view = home.view()
    shards, damaged = audit.shards(home.warehouse, view)
    tables = [] if are_files_checked else [audit.table_files(home.warehouse)[0]]
    findings = [audit.ledger(view.state), shards, *tables, *audit.rows(view, damaged)]
    if not damaged:
        remedy = "update headrace if a newer one wrote them, else restore the batch from a backup"
        findings.append(verdict("decisions", duplicates.problems(view), "each says how it came about", remedy))
    findings += [takedowns(home, view), audit.segments(home.warehouse), kept(home.root)]
    return [*findings, *_indexes(home, damaged, repair)]


def kept(root: Path) -> Finding:
    """Check what packages keep beside the tables: model versions, shares of the frontier."""
    problems = [said for keeper in keepers() for said in keeper.problems(root)]
    return verdict("beside the tables", problems, "what can be verified is sound", "restore it from a backup")


def takedowns(home: Home, view: View) -> Finding:
    """Check the key that tells what was taken down: with another one everything could come in again."""
    number = sum(row.outputs.get("tombstones", 0) for row in view.state.published.values())
    problems = []
    try:
        if number:
            read_key(home.warehouse, True)
    except Corrupt as error:
        problems = [str(error)]
    return verdict("takedowns", problems, f"{number} tombstones can be told" if number else "none")


def _result(findings: "Sequence[Finding]") -> dict[str, Any]:
    return {"ok": all(item.ok for item in findings), "checks": [asdict(item) for item in findings]}


def _installation(config: Config) -> list[Finding]:
    owners = packages_distributions()
    return [ownership(owners, _folders()), faiss(owners), *(weights(config, task) for task in get_args(models.Task))]


# ── what keeps a home from opening ───────────────────────────────────────────────────────────────────────────────────


def _opening(root: Path, warehouse: str, config: Config, repair: bool) -> list[Finding]:
    """Check the catalog's database and the tables' metadata; with `repair`, rebuild tables from ledger and shards."""
    own = "uri" not in config.catalog.catalog
    found = _open_checks(root, warehouse, config)
    if all(item.ok for item in found) or not repair:
        return found
    told: list[str] = []
    if own and not found[0].ok:
        rebuild.set_aside(root / "catalog.db")
    try:
        if broken := audit.broken_tables(config.catalog):
            told += rebuild.rebuild(root, warehouse, config.catalog, broken)
        told += _remove_damaged(warehouse, config)
    except Corrupt as error:
        return [*found, Finding("repair", False, str(error))]
    again = _open_checks(root, warehouse, config)
    return [*again, Finding("repair", all(item.ok for item in again), "; ".join(told))]


def _open_checks(root: Path, warehouse: str, config: Config) -> list[Finding]:
    databases = audit.databases(root)
    found = [databases, audit.table_files(warehouse)[0]]
    return [*found, audit.tables_open(config.catalog)] if databases.ok else found


def _remove_damaged(warehouse: str, config: Config) -> list[str]:
    """Remove damaged metadata that no table reaches any more: of rebuilt tables, of versions that are expired."""
    store = Store(*place_of(config.catalog), config.catalog.catalog)
    try:
        reached = set().union(*(store.reached(name) for name in store.names()))
    finally:
        store.close()
    told = []
    for damage in audit.table_files(warehouse)[1]:
        if damage.url not in reached:
            files.remove(damage.url)
            files.remove(damage.url + files.DIGEST)
            told.append(f"removed {audit.below(warehouse, damage.url)}, which nothing needs")
    return told


# ── indexes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _indexes(home: Home, damaged: set[str], repair: bool) -> "Iterator[Finding]":
    """Check everything that can be built anew from the tables; drop or build anew what is wrong."""
    state = home.view().state
    remedies: list[tuple[Callable[[], Finding], Callable[[], None]]] = [
        (lambda: audit.key_index(home, home.view(), damaged), lambda: audit.rebuild_key_index(home)),
        (
            lambda: audit.vector_indexes(home, home.view(), damaged),
            lambda: audit.drop_vector_indexes(home, home.view()),
        ),
        (lambda: audit.full_text(home, home.view(), damaged), lambda: audit.drop_full_text(home)),
        (lambda: audit.bands(home, state), lambda: audit.drop_bands(home, state)),
    ]
    for check, mend in remedies:
        found = check()
        if found.ok:
            yield found
        elif damaged or not repair:  # an index cannot be built from shards that cannot be read
            remedy = f"{'mend the shards first, then ' if damaged else ''}run headrace doctor --repair"
            yield replace(found, detail=f"{found.detail}; {remedy}", remedy=remedy)
        else:
            mend()
            yield _repaired(found, check())


def _repaired(before: Finding, after: Finding) -> Finding:
    return replace(after, detail=f"repaired ({before.detail}): {after.detail}" if after.ok else after.detail)


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
    if name is None:
        return Finding(f"model {task}", True, f"none is asked for; models.{task} names one")
    try:
        found = models.resolve(task, name, anew=True)
    except ModelUnavailable as error:
        return Finding(f"model {task}", False, str(error))
    if found.path is None:
        return Finding(f"model {task}", True, f"on first use the hub is asked; without it: {models.remedy(task, name)}")
    return Finding(f"model {task}", True, f"{name} in {found.path}")


def render(result: dict[str, Any], console: "Console") -> None:
    """Print one line a check, and one line on each thing that is wrong, with what to do."""
    from rich.markup import escape

    width = max(len(item["check"]) for item in result["checks"])
    for item in result["checks"]:
        mark = "[green]ok   [/green]" if item["ok"] else "[red]wrong[/red]"
        problems = [*item["problems"]] if not item["ok"] and item["problems"] else [item["detail"]]
        for problem in problems:
            remedy = f": {item['remedy']}" if item["remedy"] and item["remedy"] not in problem else ""
            line = f"{mark} {escape(item['check']):{width}}  {escape(problem)}{escape(remedy)}"
            console.print(line, highlight=False, soft_wrap=True)
    wrong = sum(not item["ok"] for item in result["checks"])
    console.print(
        "everything is in order" if result["ok"] else f"{wrong} of {len(result['checks'])} checks found something"
    )
