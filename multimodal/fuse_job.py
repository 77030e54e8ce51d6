"""The fuse stage: documents, pictures and recordings become training examples."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from catalog.models import resolve
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport
from multimodal.settings import MultimodalSettings

if TYPE_CHECKING:
    from catalog.home import Home

DEFAULT = Resources(cpus=1.0)


def run_fuse(home: "Home", config: Config) -> StageReport:
    """Fuse every extract batch whose siblings are all there: one batch in, one batch out."""
    from catalog.pipeline import recipe
    from multimodal.fuse import FuseWorker, template_id
    from multimodal.fuse_plan import Planner

    settings = config.section(MultimodalSettings).fuse
    batches = home.todo(FUSE, config)
    if not batches:
        return StageReport(FUSE.name)
    tokenizer = _tokenizer(config)
    view = home.view()
    done = view.state.consumed(FUSE.name, recipe(FUSE, config))
    plans = map(Planner(view, settings, template_id(settings, tokenizer), done).plan, batches)
    worker = partial(FuseWorker, settings, tokenizer)
    return home.publish(FUSE, config, plans, worker, config.resources("fuse", DEFAULT))


def _tokenizer(config: Config) -> str | None:
    """Return the language model's tokenizer where lengths are counted with it."""
    from multimodal.tokens import read_tokenizer

    if config.section(MultimodalSettings).fuse.max_tokens is None:
        return None
    return read_tokenizer(resolve("lm", config.catalog.models.lm))


def fuse_settings(config: Config) -> Mapping[str, object]:
    """Return what changes the rows of fuse: its section, and whose tokens are counted if lengths are limited."""
    settings = config.section(MultimodalSettings).fuse
    if settings.max_tokens is None:
        return settings.model_dump(mode="json", exclude={"max_tokens"})
    from multimodal.tokens import tokenizer_revision

    model = resolve("lm", config.catalog.models.lm)
    counted = {"name": model.name, "revision": tokenizer_revision(model)}
    return settings.model_dump(mode="json") | {"tokenizer": counted}


FUSE = Stage(
    name="fuse",
    reads=("extract",),
    waits_for=("embed", "transcribe", "annotate", "dedup"),
    tables=("examples",),
    result_version=3,
    settings=fuse_settings,
    run=run_fuse,
    traces={"examples": "document_id"},
)
