"""Cleaning: the rules that are on, applied to the text of one block until nothing changes, counted by rule."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from catalog.pii import mask
from ingest.compiled import CompiledRule, compile_rule
from ingest.presidio import mask_entities
from ingest.settings import CleaningRules
from ingest.transforms import MAX_ROUNDS, fix_unicode


@lru_cache(maxsize=16)
def _compiled(rules: CleaningRules) -> tuple[CompiledRule, ...]:
    return tuple(compile_rule(rule) for rule in rules.all_rules())


@lru_cache(maxsize=256)
def _applying(rules: CleaningRules, kind: str, language: str | None) -> tuple[CompiledRule, ...]:
    return tuple(rule for rule in _compiled(rules) if rule.applies(kind, language))


def clean_block(text: str, kind: str, rules: CleaningRules, language: str | None = None) -> tuple[str, Counter[str]]:
    """Apply the rules for such a block, in order, until nothing changes; return it with the changes by rule.

    `language` is the document's; rules that name languages run only where it is one of theirs.
    """
    hits: Counter[str] = Counter()
    applying = _applying(rules, kind, language)
    for _ in range(MAX_ROUNDS):
        before = text
        for rule in applying:
            text, count = rule(text)
            if count:
                hits[rule.name] += count
        if rules.mask_pii:
            text, masked = mask(text, rules.pii_kinds)
            if rules.presidio_entities:
                text, more = mask_entities(text, rules.presidio_entities)
                masked += more
            hits.update({f"pii_{name}": count for name, count in masked.items()})
        if text == before:
            break
    return text, hits


def readable(text: str, rules: CleaningRules) -> str:
    """Return a text as its language can be told: repaired, where the rules repair it."""
    return fix_unicode(text) if rules.fix_unicode else text


def rule_hits(hits: Mapping[str, int]) -> list[dict[str, object]]:
    """Turn counts by rule into rows of the documents' `rule_hits` column, sorted by rule."""
    return [{"rule": rule, "hits": count} for rule, count in sorted(hits.items()) if count]
