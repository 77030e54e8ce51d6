"""Shares of one crawl and their driver, without Ray: they end, also where time or budget ends before the work."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from website import Crawler, serve

from catalog.flow import Remote
from catalog.progress import bar
from ingest.cluster import Share, lead
from ingest.partition import Partition, frontier_path
from ingest.settings import IngestSettings


class Here:
    """A share in this process, called as a remote one is."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def call(self, name: str, *arguments: object) -> Callable[[], Any]:
        return lambda: getattr(self._share, name)(*arguments)


@pytest.mark.parametrize(("limits", "most"), [({}, 15), ({"max_run_visits": 5}, 5)])
def test_shares_end_together_within_the_budget(tmp_path: Path, limits: dict[str, object], most: int) -> None:
    with serve() as one, serve() as two, serve() as three:
        sites = (one, two, three)
        for site in sites:
            site.page("/", "home", links=tuple(f"/{n}" for n in range(4)))
            for n in range(4):
                site.page(f"/{n}", f"page {n} of {site.port}")
        config = Crawler(tmp_path, limits).config(*(f"{site.url}/" for site in sites))
        settings = config.section(IngestSettings)
        parts = [Partition(index, 2) for index in range(2)]
        frontier_path(tmp_path, parts[0]).parent.mkdir()
        shares = [cast(Remote, Here(Share(tmp_path, str(tmp_path / "warehouse"), settings, part))) for part in parts]

        def drive() -> None:
            with bar("crawl") as progress:
                lead(shares, lambda path: None, progress)

        driver = threading.Thread(target=drive, daemon=True)
        driver.start()
        driver.join(20)
        assert not driver.is_alive(), "the crawl does not end"
        asked = sum(path != "/robots.txt" for site in sites for _, path, _ in site.requests)
        assert 1 <= asked <= most
        assert limits or asked == most
