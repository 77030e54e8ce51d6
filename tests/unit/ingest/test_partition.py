"""What a share of a crawl owns: hosts, and its part of the run's budget."""

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from website import Crawler, serve

from catalog.progress import bar
from ingest.crawl_run import crawl_share
from ingest.frontier import Frontier
from ingest.partition import Partition, frontier_path
from ingest.recorder import Recorder
from ingest.settings import IngestSettings


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_portions_are_even_and_add_up(total: int, count: int) -> None:
    portions = [Partition(index, count).portion(total) for index in range(count)]
    assert sum(portions) == total
    assert max(portions) - min(portions) <= 1


def test_shares_together_keep_within_the_budget_of_a_run(tmp_path: Path) -> None:
    with serve() as site:
        site.page("/", "home", links=tuple(f"/{n}" for n in range(9)))
        settings = Crawler(tmp_path, {"max_run_visits": 7}).config(f"{site.url}/").section(IngestSettings)
        for index in range(2):
            part = Partition(index, 2)
            path = frontier_path(tmp_path, part)
            path.parent.mkdir(exist_ok=True)
            frontier = Frontier(path, settings.network, part)
            recorder = Recorder(tmp_path / f"staged{index}", str(tmp_path), frontier, settings.network)
            with bar("crawl") as progress:
                asyncio.run(crawl_share(settings, frontier, recorder, progress, lambda path: None))
            frontier.close()
        asked = [path for _, path, _ in site.requests if path != "/robots.txt"]
        assert len(asked) in (3, 4)  # one of the two owns the host
