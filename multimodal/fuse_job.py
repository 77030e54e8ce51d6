"""The fuse stage: documents, pictures and recordings become training examples."""

from functools import partial
from typing import TYPE_CHECKING

from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport
from multimodal.settings import MultimodalSettings

if TYPE_CHECKING:
    from catalog.home import Home

DEFAULT = Resources(cpus=1.0)


def run_fuse(home: "Home", config: Config) -> StageReport:
    """Fuse every extract batch whose siblings are all there: one batch in, one batch out."""
    from catalog.pipeline import recipe
    from multimodal.fuse import FuseWorker
    from multimodal.fuse_plan import plan

    settings = config.section(MultimodalSettings).fuse
    batches = home.todo(FUSE, config)
    view = home.view()
    done = view.state.consumed(FUSE.name, recipe(FUSE, config))
    plans = (plan(view, batch, settings, done) for batch in batches)
    return home.publish(FUSE, config, plans, partial(FuseWorker, settings), config.resources("fuse", DEFAULT))


FUSE = Stage(
    name="fuse",
    reads=("extract",),
    waits_for=("embed", "transcribe", "annotate", "dedup"),
    tables=("examples",),
    result_version=2,
    settings=lambda config: config.section(MultimodalSettings).fuse.model_dump(mode="json"),
    run=run_fuse,
    traces={"examples": "document_id"},
)
