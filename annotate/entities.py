"""Entities of a parsed document, under the schema's labels."""

from typing import TYPE_CHECKING

from annotate.settings import AnnotationSchema

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

LEADING = frozenset({"the", "a", "an"})


def set_schema_entities(doc: "Doc", schema: AnnotationSchema) -> "tuple[Span, ...]":
    """Replace the model's entities by the schema's, without articles, possessive endings or line ends; return them."""
    labelled = ((span, schema.label(span.label_)) for span in doc.ents)
    trimmed = (_trim(doc, span, label) for span, label in labelled if label is not None)
    doc.ents = [span for span in trimmed if span is not None]
    return tuple(doc.ents)


def set_schema_labels(doc: "Doc", schema: AnnotationSchema) -> dict[int, int]:
    """Keep the entities that the schema has, under its labels and with their ends; return old index → new index."""
    from spacy.tokens import Span

    labelled = [(index, span, schema.label(span.label_)) for index, span in enumerate(doc.ents)]
    kept = [
        (index, Span(doc, span.start, span.end, label=label)) for index, span, label in labelled if label is not None
    ]
    doc.ents = [span for _, span in kept]
    return {index: place for place, (index, _) in enumerate(kept)}


def _trim(doc: "Doc", span: "Span", label: str) -> "Span | None":
    from spacy.tokens import Span

    start, end = span.start, span.end
    while start < end and (doc[start].is_space or doc[start].is_punct or doc[start].lower_ in LEADING):
        start += 1
    for token in doc[start:end]:
        if token.is_space and "\n" in token.text:  # a name does not run over the end of a block
            end = token.i
            break
    while start < end and (doc[end - 1].is_space or doc[end - 1].tag_ == "POS" or doc[end - 1].text in {",", ";", ":"}):
        end -= 1
    return Span(doc, start, end, label=label) if start < end else None
