"""Run one stage or all of them, in order, in one process and one Ray session."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catalog import files, flow, pipeline, snapshots
from catalog.home import Home
from catalog.settings import LAST_CONFIG, Config
from catalog.stage import Stage, StageReport

log = logging.getLogger("headrace")
SECRET = re.compile(
    r"secret|passw|token|credential|access[-_.]?key|account[-_.]?key|api[-_.]?key|sas|private|authori[sz]ation|connection-string",
    re.IGNORECASE,
)
PASSWORD = re.compile(r"(://[^/:@]*):[^@/]*(?=@)|(?<=[?&])(?:ssl)?password=[^&]*&?")


def open_home(config: Config) -> Home:
    """Open the configured home and remember the configuration for the commands that take none."""
    home = Home.open(config.catalog)
    given = dict(config.given)
    if config.catalog.warehouse:  # commands that take no configuration may run in another folder
        given["warehouse"] = home.warehouse
    monitoring = given.get("monitoring") or {}
    if repository := (monitoring.get("versioning") or {}).get("repository"):  # likewise
        place = {"repository": str(Path(repository).expanduser().absolute())}
        given["monitoring"] = {**monitoring, "versioning": {**monitoring["versioning"], **place}}
    if config.catalog.catalog:
        given["catalog"] = without_secrets(config.catalog.catalog)
    remembered = json.dumps(given, indent=1, sort_keys=True, ensure_ascii=False, default=str).encode()
    files.replace(str(home.root / LAST_CONFIG), remembered)
    return home


def without_secrets(properties: Mapping[str, str]) -> dict[str, str]:
    """Leave passwords, tokens and keys out of catalog properties, in URLs too: they are for the environment to hold."""
    kept = {name: value for name, value in properties.items() if not SECRET.search(name)}
    return {name: PASSWORD.sub(lambda found: found[1] or "", value) for name, value in kept.items()}


def last_config(root: Path) -> Config:
    """Return the configuration that last ran in a home, or the defaults."""
    path = root / LAST_CONFIG
    if not path.is_file():
        return Config({"root": str(root)})
    return Config.load(path, root=str(root))


def run(config: Config, only: str | None = None, again: bool = False) -> dict[str, Any]:
    """Run every enabled stage that has something to do, or one of them; return what each did.

    With `again`, what a rollback turned off and the configuration would give is turned on first.
    """
    try:
        with open_home(config) as home:
            for name, count in snapshots.again(home, config).items() if again else ():
                log.info("%s: %d batches that were rolled back are on again", name, count)
            chosen = [pipeline.stage_named(only, config)] if only else pipeline.enabled(config)
            reports = [_run_stage(home, config, stage) for stage in chosen]
            if any(report.batches for report in reports):
                home.settle()
            return {"root": str(home.root), "seq": home.view().seq, "stages": [asdict(report) for report in reports]}
    finally:
        flow.stop_ray()


def _run_stage(home: Home, config: Config, stage: Stage) -> StageReport:
    """Run one stage and say what it did."""
    report = stage.run(home, config)
    held = snapshots.held_back(home.ledger.refresh(), stage, config)
    if held:
        report.notes.append(
            f"{len(held)} batches stay off as they were rolled back; headrace run --again brings them back"
        )
    for line in (describe(report), *(f"{stage.name}: {note}" for note in report.notes)):
        log.info("%s", line)
    return report


def describe(report: StageReport) -> str:
    """Say in one line what a stage did."""
    if not report.batches:
        return f"{report.stage}: nothing new"
    parts = [f"{report.num_in} in, {report.num_processed} processed"]
    parts += [f"{n} {word}" for n, word in ((report.num_reused, "reused"), (report.num_skipped, "skipped")) if n]
    if report.num_rejected:
        reasons = ", ".join(f"{reason} {rows}" for reason, rows in sorted(report.rejects.items()))
        parts.append(f"{report.num_rejected} rejected ({reasons})")
    written = ", ".join(f"{rows} {table}" for table, rows in sorted(report.outputs.items()))
    took = f"{report.batches} batch(es), {report.seconds:.1f} s"
    return f"{report.stage}: {', '.join(parts)} → {written or 'no rows'} in {took}"
