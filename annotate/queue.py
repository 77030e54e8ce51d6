"""Sentences worth a person's time: those that the annotator is least sure of come first (R20).

Uncertainty is one minus the smallest margin of the sentence's decisions (margin sampling: Scheffer, Decomain & Wrobel
2001). A learned model's margins are its own. spaCy's recogniser is asked by beam search, a pattern's is its confidence,
and a pair of entities that a pattern could join though none does counts as UNSPOKEN.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from annotate.annotator import Annotator, Pipeline
from annotate.found import FOUND, Found

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

    from annotate.relations import Relation

BEAM_WIDTH = 8
BEAM_DENSITY = 0.0001
UNSPOKEN = 0.7  # margin of a pair without a relation whose labels some pattern joins
PER_SUBJECT = 3  # sentences of one text, so that no odd page fills the queue
MIN_WORDS, MAX_CHARACTERS = 4, 600

Row = dict[str, Any]
Key = tuple[str, int, str]


def queue(rows: Iterable[Row], annotator: Annotator, known: Collection[Key], size: int) -> list[Row]:
    """Return up to `size` sentences of the texts, the least certain first, as rows to label; `known` ones stay out."""
    chosen = ((row, annotator.pipelines.get(annotator.language(row["language"]))) for row in rows)
    found = (item for row, pipeline in chosen if pipeline is not None for item in _of_subject(row, pipeline, known))
    return nsmallest(size, found, key=lambda item: (-item["uncertainty"], item["subject_id"], item["start"]))


def _of_subject(row: Row, pipeline: Pipeline, known: Collection[Key]) -> list[Row]:
    doc = pipeline.nlp(row["text"])
    found: Found | None = doc.user_data.get(FOUND)
    entities, scores, relations = pipeline.find(doc)
    margins = _margins(found) if found else _beam_margins(pipeline, doc)
    made = []
    for sentence in doc.sents:
        text = sentence.text.rstrip()
        key = row["subject_id"], sentence.start_char, text
        if len(sentence) < MIN_WORDS or len(text) > MAX_CHARACTERS or key in known:
            continue
        places = {
            index: place
            for place, index in enumerate(
                index for index, one in enumerate(entities) if sentence.start <= one.start and one.end <= sentence.end
            )
        }
        own = [one for one in relations if one.head in places and one.tail in places]
        margin = min([margins.get(token.i, 1.0) for token in sentence])
        if found is None:
            margin = min(margin, _relation_margin(pipeline, entities, places, own))
        made.append(
            {name: row[name] for name in ("subject_id", "subject_kind", "url")}
            | {"start": sentence.start_char, "text": text, "uncertainty": round(1 - margin, 4)}
            | {"reviewed": False, "who": ""}
            | {"entities": [_entity(entities[index], scores[index], sentence) for index in places]}
            | {"relations": [_relation(one, places) for one in own]}
        )
    return nsmallest(PER_SUBJECT, made, key=lambda item: (-item["uncertainty"], item["start"]))


def _relation(relation: "Relation", places: Mapping[int, int]) -> Row:
    head, tail = places[relation.head], places[relation.tail]
    return {"head": head, "tail": tail, "label": relation.label, "score": relation.score}


def _entity(span: "Span", score: float | None, sentence: "Span") -> Row:
    first = sentence.start_char
    return {
        "start": span.start_char - first, "end": span.end_char - first, "label": span.label_, "text": span.text,
        "score": score,
    }  # fmt: skip


def _margins(found: Found) -> dict[int, float]:
    return {token: margin for start, end, margin in found.margins for token in range(start, end)}


def _beam_margins(pipeline: Pipeline, doc: "Doc") -> dict[int, float]:
    """Return the margins of the tokens of each entity that spaCy's recogniser considers; the document loses its own."""
    recogniser: Any = pipeline.nlp.get_pipe("ner")
    doc.set_ents([], missing=[doc[:]])  # what is set, a beam takes for certain
    beams = recogniser.beam_parse([doc], beam_width=BEAM_WIDTH, beam_density=BEAM_DENSITY)
    margins: dict[int, float] = {}
    for (start, end, _), probability in recogniser.scored_ents(beams)[0].items():
        for token in range(start, end):
            margins[token] = min(margins.get(token, 1.0), abs(2 * probability - 1))
    return margins


def _relation_margin(
    pipeline: Pipeline, entities: "Sequence[Span]", inside: Collection[int], relations: "Sequence[Relation]"
) -> float:
    related = {(one.head, one.tail) for one in relations}
    unspoken = any(
        (entities[head].label_, entities[tail].label_) in pipeline.joinable and (head, tail) not in related
        for head in inside
        for tail in inside
        if head != tail
    )
    return min([abs(2 * one.score - 1) for one in relations] + [UNSPOKEN] * unspoken, default=1.0)
