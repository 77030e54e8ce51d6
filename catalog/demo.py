"""The demo: serve the example site on loopback, run the whole chain offline on it, and say what to look at."""

import functools
import http.server
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table

from catalog import export, models, search, status
from catalog import run as running
from catalog.errors import InputError
from catalog.home import Home
from catalog.settings import Config

HOST = "127.0.0.1"
PORTS = range(8620, 8640)  # the first free one; a fixed start keeps the URLs of a second run the same
QUERY = "a red apple"
EXAMPLES = 3
TRAINING = {  # one short round that a laptop's processor finishes in about a minute
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_length": 256,
    "max_steps": 20,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 0.1,
    "lr_scheduler_type": "cosine",
    "dropout": 0.05,
    "early_stopping": False,
}


def configuration(root: Path, site: str, engine: str) -> Config:
    """Return the demo's configuration: the loopback site, packaged models, a short training round."""
    given = {
        "root": str(root),
        "engine": engine,
        "models": "offline",
        "data_sources": [{"url": site, "kind": "site", "depth": 3}],
        # one request at a time: of two copies the first to come is kept, and every run is to keep the same
        "network": {"allow_private_hosts": [HOST], "delay": 0, "concurrency_per_host": 1},
        "annotation_schema": {
            "entities": ["PERSON", "ORGANIZATION", "LOCATION"],
            "relations": ["WORKS_FOR", "LOCATED_IN"],
        },
        "transcribe": {"beam_size": 5, "share_windows": False},
        "training_args": TRAINING,
    }
    return Config(given, where="the demo's configuration")


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a loopback port and yield its URL."""
    if not folder.is_dir():
        raise InputError(f"{folder}: the demo site is missing; reinstall headrace, or run from a checkout")
    handler = functools.partial(_Quiet, directory=str(folder))
    server = _listen(handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up, as a crawl does when it ends; anything else is a fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name that the library gives it
        """Say nothing: the crawler reports."""


def _listen(handler: Any) -> _Server:
    for port in PORTS:
        try:
            return _Server((HOST, port), handler)
        except OSError:
            continue
    raise InputError(f"demo: no free port between {PORTS.start} and {PORTS.stop - 1}; stop what listens there")


def run(root: Path, engine: str) -> dict[str, Any]:
    """Run the chain on the demo site and return everything the summary shows."""
    started = time.monotonic()
    with serve(models.examples_dir() / "site") as site:
        config = configuration(root, site, engine)
        ran = running.run(config)
    home = Home.open(config.catalog)
    return {
        "root": str(root),
        "site": site,
        "stages": ran["stages"],
        "status": status.status(home, config),
        "rejects": _rejects(home),
        "examples": _examples(home),
        "search": {"query": QUERY, **search.by_text(home, config, QUERY, search.Query("image", 3))},
        "model": _newest_model(home),
        "seconds": round(time.monotonic() - started, 1),
    }


def _rejects(home: Home) -> list[dict[str, str]]:
    rows = home.view().read("rejects", ["stage", "reason", "url", "detail"]).to_pylist()
    return sorted(rows, key=lambda row: (row["stage"], row["reason"], row["url"] or ""))


def _examples(home: Home) -> list[dict[str, Any]]:
    """Pick the examples with the most kinds of segments, which show fusing best."""
    rows = export.current_examples(home).to_pylist()

    def richness(row: dict[str, Any]) -> tuple[int, str]:
        kinds = {segment["kind"] for segment in row["segments"]}
        return (-len(kinds), row["url"])

    return [
        {
            "url": row["url"],
            "split": row["split"],
            "language": row["language"],
            "segments": [(segment["kind"], segment["text"]) for segment in row["segments"]],
        }
        for row in sorted(rows, key=richness)[:EXAMPLES]
    ]


def _newest_model(home: Home) -> dict[str, Any] | None:
    """Read the newest model version's manifest from the registry's work tree."""
    manifests = (home.root / "models" / "versions").glob("v*/manifest.json")
    newest = max(manifests, key=lambda path: int(path.parent.name[1:]), default=None)
    return json.loads(newest.read_text(encoding="utf-8")) if newest else None


def render(result: dict[str, Any], console: Console) -> None:
    """Print the summary that a newcomer reads."""
    console.rule("[bold]what came in")
    tables = Table("table", "rows", "batches", "files", "bytes", box=None)
    for name, counts in result["status"]["tables"].items():
        if counts["rows"]:
            tables.add_row(name, *(str(counts[key]) for key in ("rows", "batches", "files", "bytes")))
    console.print(tables)
    console.rule("[bold]what was turned away, and why")
    fixed = [Column(name, no_wrap=True) for name in ("stage", "reason", "page")]
    turned = Table(*fixed, Column("detail", no_wrap=True, overflow="ellipsis", ratio=1), box=None, expand=True)
    for row in result["rejects"]:
        page = (row["url"] or "").removeprefix(result["site"])
        turned.add_row(row["stage"], row["reason"], escape(page), escape(row["detail"] or ""))
    console.print(turned)
    console.rule("[bold]three fused examples")
    for example in result["examples"]:
        console.print(_panel(example))
    console.rule(f"[bold]search by words: {result['search']['query']}")
    search.render(result["search"], console)
    console.rule("[bold]what the model learned")
    _render_model(result["model"], console)
    console.rule("[bold]try next")
    root = result["root"]
    program = "headrace" if shutil.which("headrace") else sys.argv[0]  # as `make demo` calls it: not on the PATH
    for words in ("status", f"why {result['site']}private/next-issue.html", 'search --text "青蛙"'):
        console.print(f"  {program} {words} --root {root}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"done in {result['seconds']} s; everything is in {root}", style="dim", highlight=False, markup=False)


def _panel(example: dict[str, Any]) -> Panel:
    lines = []
    texts = [segment for segment in example["segments"] if segment[0] == "text"]
    for kind, text in [*texts[:2], *(segment for segment in example["segments"] if segment[0] != "text")][:6]:
        shown = " ".join((text or "").split())
        lines.append(f"[bold]{kind:>5}[/] {escape(shown[:150])}{'…' if len(shown) > 150 else ''}")
    return Panel("\n".join(lines), title=escape(f"{example['url']} ({example['language']}, {example['split']})"))


def _render_model(model: dict[str, Any] | None, console: Console) -> None:
    if model is None:
        console.print("no model version: there was nothing to train on")
        return
    learned = Table("held-out text", "perplexity before", "after", box=None)
    for part, found in model["metrics"]["before"].items():
        after = model["metrics"]["after"][part]["perplexity"]
        learned.add_row(f"{part}, {found['documents']} documents", f"{found['perplexity']:.2f}", f"{after:.2f}")
    console.print(learned)
    verdict = "promoted" if model["gate"]["promoted"] else "not promoted"
    reasons = "; ".join(model["gate"]["reasons"])
    console.print(f"version {model['version']} is {verdict}: {reasons}", highlight=False, markup=False)
    for name in ("prompt", "before", "after"):
        console.print(f"[bold]{name:>7}[/] {escape(' '.join(model['sample'][name].split()))}", highlight=False)
