"""Annotate texts: one `nlp.pipe` pass per language gives entities, relations and topics."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from annotate.entities import set_schema_entities, set_schema_labels
from annotate.found import FOUND, Found, found_relations, strongest
from annotate.nlp import learned_relations, load_nlp, model_version
from annotate.relations import Relation, RelationFinder
from annotate.settings import AnnotationSchema, base_language, result_settings
from annotate.topics import find_topics
from catalog import schema
from catalog.errors import ModelUnavailable
from catalog.ids import settings_hash
from catalog.models import Weights
from catalog.schema import Reason

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span

log = logging.getLogger("headrace")
Row: TypeAlias = dict[str, Any]

PORTION = 100_000  # characters that spaCy has in its arrays at once: a kilobyte or two each, and no slower than more
# What is annotated, whichever table it comes from.
SUBJECTS = pa.schema([(name, pa.string()) for name in ("subject_id", "subject_kind", "url", "language", "text")])


def document_subjects(documents: pa.Table) -> pa.Table:
    """Turn `documents` rows into subjects."""
    return _subjects(documents, "document", "document_id")


def transcript_subjects(transcripts: pa.Table) -> pa.Table:
    """Turn `transcripts` rows into subjects."""
    return _subjects(transcripts, "transcript", "media_id")


class Annotator:
    """Loads one pipeline per language once, then turns subjects into `annotations` and `rejects`."""

    def __init__(self, annotation: AnnotationSchema, weights: Mapping[str, Weights]) -> None:
        """Take the model of each language; the first also serves texts whose language is unknown."""
        self._default = next(iter(weights))
        self.pipelines: dict[str, Pipeline] = {}
        self._remedies: dict[str, str] = {}
        for language, model in weights.items():
            try:
                self.pipelines[language] = Pipeline(annotation, load_nlp(model), model)
            except ModelUnavailable as error:
                self._remedies[language] = str(error)

    def __call__(self, subjects: pa.Table) -> Mapping[str, pa.Table]:
        """Give every text an `annotations` row or a `rejects` row with the reason, ordered by id."""
        rejected: list[Row] = []
        accepted: dict[str, list[Row]] = {}
        for row in subjects.to_pylist():
            language = self.language(row["language"])
            reason = self._refusal(language, row["text"] or "")
            if reason is None:
                accepted.setdefault(language, []).append(row)
            else:
                rejected.append({"record_id": row["subject_id"], "url": row["url"], **reason})
        annotated = [made for language, rows in accepted.items() for made in self.pipelines[language].annotate(rows)]
        return {
            "annotations": pa.Table.from_pylist(annotated, schema=schema.body("annotations")).sort_by("subject_id"),
            "rejects": schema.rejects("annotate", sorted(rejected, key=lambda row: str(row["record_id"]))),
        }

    def language(self, given: str | None) -> str:
        """Return the language whose pipeline takes a text of the given one."""
        return base_language(given) or self._default

    def _refusal(self, language: str, text: str) -> Row | None:
        pipeline = self.pipelines.get(language)
        if pipeline is None:
            return {"reason": Reason.NO_MODEL, "detail": self._remedies.get(language) or _no_model(language)}
        if len(text) > pipeline.max_length:
            detail = f"{len(text)} characters; the {language} pipeline takes at most {pipeline.max_length}"
            return {"reason": Reason.TOO_LONG, "detail": detail}
        return None


class Pipeline:
    """One language's model with the relations that it has learned, and compiled patterns for the others."""

    def __init__(self, annotation: AnnotationSchema, nlp: "Language", weights: Weights) -> None:
        self._schema = annotation
        self.nlp = nlp
        self._learned, patterns = annotation.divide(learned_relations(weights))
        self._relations = RelationFinder(nlp.vocab, patterns)
        self.joinable = self._relations.ends
        self._annotator = model_version(weights) or weights.name
        self._version = settings_hash(result_settings(annotation))[:12]
        self.max_length = nlp.max_length
        given = {annotation.label(label) for label in nlp.pipe_labels.get("ner", annotation.entities)}
        if missing := [label for label in annotation.entities if label not in given]:
            log.warning(
                "annotation_schema.entities: nothing that %s finds is called %s; label_map says what its labels become",
                weights.name, " or ".join(missing),
            )  # fmt: skip

    def annotate(self, rows: Sequence[Row]) -> list[Row]:
        texts = [row["text"] or "" for row in rows]
        docs = (doc for portion in portions(texts) for doc in self.nlp.pipe(portion))
        return [self._row(row, doc) for row, doc in zip(rows, docs, strict=True)]

    def _row(self, row: Row, doc: "Doc") -> Row:
        entities, scores, relations = self.find(doc)
        return {
            "subject_id": row["subject_id"],
            "subject_kind": row["subject_kind"],
            "entities": [
                {
                    "start": span.start_char,
                    "end": span.end_char,
                    "label": span.label_,
                    "text": span.text,
                    "score": score,
                }
                for span, score in zip(entities, scores, strict=True)
            ],
            "relations": [asdict(relation) for relation in relations],
            "topics": [{"label": label, "score": score} for label, score in find_topics(doc, self._schema.num_topics)],
            "annotator": self._annotator,
            "version": self._version,
        }

    def find(self, doc: "Doc") -> "tuple[Sequence[Span], Sequence[float | None], list[Relation]]":
        """Return entities, their probabilities and relations; spaCy's own recogniser gives no probabilities."""
        found: Found | None = doc.user_data.get(FOUND)
        if found is None:
            entities = set_schema_entities(doc, self._schema)
            return entities, [None] * len(entities), self._relations.find(doc, entities)
        places = set_schema_labels(doc, self._schema)
        relations = [*found_relations(doc, found, places, self._learned), *self._relations.find(doc, doc.ents)]
        return doc.ents, [found.scores[index] for index in places], strongest(relations)


def portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut texts into runs of at most PORTION characters, or of one text."""
    run: list[str] = []
    size = 0
    for text in texts:
        if run and size + len(text) > PORTION:
            yield run
            run, size = [], 0
        run.append(text)
        size += len(text)
    if run:
        yield run


def _subjects(rows: pa.Table, kind: str, id_column: str) -> pa.Table:
    absent = pa.nulls(rows.num_rows, pa.string())
    columns = {
        "subject_id": rows[id_column],
        "subject_kind": pa.array([kind] * rows.num_rows, pa.string()),
        **{name: rows[name] if name in rows.column_names else absent for name in ("url", "language", "text")},
    }
    return pa.table(columns, schema=SUBJECTS)


def _no_model(language: str) -> str:
    return (
        f"no spaCy model for language '{language}' is configured; install one with a parser and an entity recogniser, "
        f"and name it in the settings: annotation_schema: {{models: {{{language}: NAME}}}}"
    )
