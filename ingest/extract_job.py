"""The extract stage: crawled pages in, documents and media out, one batch for one batch."""

from functools import partial
from typing import TYPE_CHECKING

from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport, Worker
from catalog.tombstones import Forgotten
from ingest.settings import CleaningRules, ExtractSettings, IngestSettings

if TYPE_CHECKING:
    from catalog.home import Home, View
    from catalog.publish import Batch, Plan

DEFAULT = Resources(workers=2, cpus=1.0)
PART_ROWS = 500


def run_extract(home: "Home", config: Config) -> StageReport:
    """Read every crawl batch that is not extracted yet."""
    settings = config.section(IngestSettings)
    batches = home.todo(EXTRACT, config)
    view = home.view()
    plans = (_plan(view, batch) for batch in batches)
    max_bytes = int(settings.network.max_bytes)
    agent = settings.network.user_agent
    forgotten = Forgotten.of(home)
    worker = partial(_load, home.warehouse, max_bytes, settings.cleaning_rules, settings.extract, agent, forgotten)
    return home.publish(EXTRACT, config, plans, worker, config.resources("extract", DEFAULT))


def _load(
    warehouse: str, max_bytes: int, rules: CleaningRules, wanted: ExtractSettings, agent: str, forgotten: Forgotten
) -> Worker:
    from ingest.extract import ExtractWorker

    return ExtractWorker(warehouse, max_bytes, rules, wanted, agent, forgotten)


def _plan(view: "View", batch: "Batch") -> "Plan":
    from catalog.publish import Input, Plan

    pages = view.read("pages", batches=[batch.batch_id])
    return Plan((Input(batch, pages.num_rows),), pages, "page_id", PART_ROWS)


def _settings(config: Config) -> dict[str, object]:
    settings = config.section(IngestSettings)
    return {
        "cleaning_rules": settings.cleaning_rules.result_settings(),
        "extract": settings.extract.model_dump(mode="json", exclude={"max_seconds", "max_memory"}),
        "agent": settings.network.user_agent,  # opt-outs may be said to one agent
    }


EXTRACT = Stage(
    name="extract",
    reads=("crawl",),
    tables=("documents", "media"),
    result_version=3,
    settings=_settings,
    run=run_extract,
    traces={"documents": "page_id", "media": "page_id"},
)
