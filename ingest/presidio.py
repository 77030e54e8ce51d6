"""More kinds of personal data by the pattern recognisers of Presidio, which the extra `pii` installs.

Ours in catalog/pii.py come first: on the labelled lines of tests/unit/catalog/pii_labelled.txt they find more, at a
thirtieth of the time. Presidio adds what is particular to countries and trades: IBAN_CODE, US_SSN, UK_NHS …
"""

from collections import Counter
from functools import cache
from typing import Any

MIN_SCORE = 0.5  # Presidio's own default is 0; what its weakest patterns find is any number


def mask_entities(text: str, entities: tuple[str, ...]) -> tuple[str, Counter[str]]:
    """Replace what Presidio recognises as one of `entities` by its name in brackets; return the text and the counts."""
    if not any(char.isdigit() for char in text):  # every recogniser that needs no model looks for a number
        return text, Counter()
    found = load_analyzer().analyze(text, language="en", entities=list(entities), score_threshold=MIN_SCORE)
    hits: Counter[str] = Counter()
    end = len(text)
    for result in sorted(found, key=lambda item: (item.end, item.score), reverse=True):
        if result.end <= end:  # of two that overlap the later one is taken
            text = f"{text[: result.start]}[{result.entity_type}]{text[result.end :]}"
            end = result.start
            hits[result.entity_type.lower()] += 1
    return text, hits


@cache
def load_analyzer() -> Any:
    """Load Presidio: seconds, and hundreds of megabytes where spaCy brings torch along."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Tokens(SpacyNlpEngine):
        """Cut words without a model, which would take ten times as long and find nothing that these patterns need."""

        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}  # type: ignore[assignment]

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    return AnalyzerEngine(registry=registry, nlp_engine=Tokens())
