"""Rules that are ready to run, and the proof that they do what their golden pairs say."""

from collections.abc import Callable
from dataclasses import dataclass

import regex

from ingest.rules import Rule
from ingest.transforms import MAX_ROUNDS, TRANSFORMS


@dataclass(frozen=True)
class CompiledRule:
    """A rule that is ready to run."""

    name: str
    languages: frozenset[str]
    blocks: frozenset[str]
    change: Callable[[str], tuple[str, int]]  # text → changed text and number of changes

    def applies(self, kind: str, language: str | None) -> bool:
        """Tell whether the rule is for such a block of a document in this language."""
        return kind in self.blocks and (not self.languages or language in self.languages)

    def __call__(self, text: str) -> tuple[str, int]:
        """Apply the rule until nothing changes; return the text and the number of changes."""
        total = 0
        for _ in range(MAX_ROUNDS):
            changed, count = self.change(text)
            if changed == text:
                break
            text, total = changed, total + count
        return text, total


def compile_rule(rule: Rule) -> CompiledRule:
    """Make a rule ready to run: a pattern counts its matches, a table its words, a transform one for each text."""
    return CompiledRule(rule.name, frozenset(rule.languages), frozenset(rule.blocks), _change(rule))


def _change(rule: Rule) -> Callable[[str], tuple[str, int]]:
    if rule.transform is not None:
        transform = TRANSFORMS[rule.transform]
        return lambda text: (transform(text), 1)
    if rule.pattern is not None:
        pattern, replacement = regex.compile(rule.pattern), rule.replacement
        return lambda text: pattern.subn(replacement, text)
    words = dict(rule.words)
    listed = regex.compile("|".join(map(regex.escape, sorted(words, key=len, reverse=True))))
    return lambda text: listed.subn(lambda match: words[match[0]], text)


def broken_examples(rule: Rule) -> list[str]:
    """Return what is wrong with a rule's golden pairs: another outcome, or one that a second time changes again."""
    run = compile_rule(rule)
    problems = []
    for before, after in rule.examples:
        once = run(before)[0]
        if once != after:
            problems.append(f"rule '{rule.name}': {before!r} becomes {_short(once)}, not {after!r}")
        elif (again := run(once)[0]) != once:
            problems.append(f"rule '{rule.name}': {once!r} does not stay as it is, it becomes {_short(again)}")
    return problems


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}…"
