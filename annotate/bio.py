"""BIO tags from character offsets and back: O, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC (R8)."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc

SHORT = {"PERSON": "PER", "ORGANIZATION": "ORG", "LOCATION": "LOC"}
LONG = {short: long for long, short in SHORT.items()}


def offsets_to_bio(doc: "Doc", entities: Iterable[tuple[int, int, str]]) -> list[str]:
    """Tag each token from (start, end, label) code-point ranges, widened to whole tokens; ValueError if two overlap."""
    from spacy.training import biluo_to_iob, offsets_to_biluo_tags

    spans = (
        doc.char_span(start, end, SHORT.get(label, label), alignment_mode="expand") for start, end, label in entities
    )
    whole = [(span.start_char, span.end_char, span.label_) for span in spans if span is not None]
    return list(biluo_to_iob(offsets_to_biluo_tags(doc, whole)))


def bio_to_offsets(doc: "Doc", tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the (start, end, label) ranges of BIO tags, one tag a token; the inverse of `offsets_to_bio`."""
    from spacy.training import biluo_tags_to_offsets, iob_to_biluo

    found = biluo_tags_to_offsets(doc, iob_to_biluo(list(tags)))
    return [(start, end, LONG.get(str(label), str(label))) for start, end, label in found]
