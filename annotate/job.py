"""The annotate stage: entities, relations and topics of documents and transcripts."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from annotate.nlp import CHINESE, learned_relations, model_folder, model_language, model_version
from annotate.settings import AnnotateSettings, AnnotationSchema, result_settings
from catalog.errors import ConfigError
from catalog.models import Weights, resolve
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

if TYPE_CHECKING:
    from annotate.annotator import Annotator
    from catalog.home import Home, View
    from catalog.publish import Batch, Plan

COLUMNS = {"extract": ("documents", ["document_id", "url", "language", "text"]),
           "transcribe": ("transcripts", ["media_id", "language", "text"])}  # fmt: skip
DEFAULT = Resources(cpus=1.0)
PART_ROWS = 500


def run_annotate(home: "Home", config: Config) -> StageReport:
    """Annotate every document and transcript that is not annotated yet: one batch in, one batch out."""
    batches = home.todo(ANNOTATE, config)
    view = home.view()
    plans = (_plan(view, batch) for batch in batches)
    return home.publish(ANNOTATE, config, plans, make_worker(config), config.resources("annotate", DEFAULT))


def load_annotator(config: Config) -> Callable[[pa.Table], Mapping[str, pa.Table]]:
    """Load the configured pipelines; the callable turns `documents` rows into `annotations` and `rejects`."""
    from annotate.annotator import document_subjects

    annotate = make_worker(config)()
    return lambda documents: annotate(document_subjects(documents))


def make_worker(config: Config) -> "Callable[[], Annotator]":
    """Return the picklable factory of a worker over subjects."""
    annotation = config.section(AnnotateSettings).annotation_schema
    weights = language_weights(config, annotation)
    check_relations(annotation, weights)
    return partial(_load, annotation, weights)


def language_weights(config: Config, annotation: AnnotationSchema) -> dict[str, Weights]:
    """Return the spaCy model of each language, that of `models.spacy` first; Chinese has one that comes along."""
    default = resolve("spacy", config.catalog.models.spacy)
    others = {language: resolve("spacy", name) for language, name in annotation.models.items()}
    own = {model_language(default): default}
    return own | ({} if "zh" in own else {"zh": resolve("spacy", CHINESE)}) | others


def check_relations(annotation: AnnotationSchema, weights: Mapping[str, Weights]) -> None:
    """Raise ConfigError for a relation that no pattern describes and no configured model has learned."""
    known: set[str] = set()
    for model in weights.values():
        own, patterns = annotation.divide(learned_relations(model))
        known |= {*own, *(pattern.relation for pattern in patterns)}
    for relation in annotation.relations:
        if relation not in known:
            raise ConfigError(
                f"annotation_schema.relations: relation {relation} has no pattern and no model has learned it; declare "
                "one under annotation_schema.patterns, or train a model with 'headrace annotate train'"
            )


def _load(annotation: AnnotationSchema, weights: Mapping[str, Weights]) -> "Annotator":
    from annotate.annotator import Annotator

    return Annotator(annotation, weights)


def _plan(view: "View", batch: "Batch") -> "Plan":
    from annotate.annotator import document_subjects, transcript_subjects
    from catalog.publish import Input, Plan

    table, columns = COLUMNS[batch.stage]
    rows = view.read(table, columns, [batch.batch_id])
    subjects = document_subjects(rows) if table == "documents" else transcript_subjects(rows)
    return Plan((Input(batch, subjects.num_rows),), subjects, "subject_id", PART_ROWS)


def _settings(config: Config) -> dict[str, object]:
    annotation = config.section(AnnotateSettings).annotation_schema
    weights = language_weights(config, annotation)
    check_relations(annotation, weights)
    models = {
        language: {
            "revision": model.revision,
            "version": model_version(model),
            "available": model_folder(model) is not None,
        }
        for language, model in weights.items()
    }
    return {**result_settings(annotation), "models": models}


ANNOTATE = Stage(
    name="annotate",
    reads=("extract", "transcribe"),
    tables=("annotations",),
    result_version=3,
    settings=_settings,
    run=run_annotate,
    traces={"annotations": "subject_id"},
)
