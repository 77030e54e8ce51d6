"""Headrace's side of the crawl benchmark: crawl once into a new home and print pages, seconds, CPU and memory."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import ingest.crawl_run  # noqa: F401 — imports are no part of the crawl
from catalog.home import Home
from catalog.settings import Config
from ingest.crawl_job import run_crawl


def main(given: dict[str, Any]) -> None:
    """Crawl the seeds with politeness off."""
    sources = [{"url": seed, "depth": 1000, "max_pages": 1_000_000} for seed in given["seeds"]]
    network = {
        "allow_private_hosts": ["127.0.0.0/8"], "delay": 0, "concurrency": given["concurrency"],
        "concurrency_per_host": given["per_host"],
    }  # fmt: skip
    config = Config({"root": str(Path(given["folder"]) / "home"), "data_sources": sources, "network": network})
    home = Home.open(config.catalog)
    home.view()
    before, started = _cpu(), time.monotonic()
    report = run_crawl(home, config)
    found = {"pages": report.num_processed, "seconds": time.monotonic() - started, "cpu": _cpu() - before}
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
