"""spaCy's DependencyMatcher without its product of all words: a long list in one sentence took it hours."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spacy.matcher import DependencyMatcher


class TreeMatcher(DependencyMatcher):
    """Finds what DependencyMatcher finds, patterns checked as they are added; a node's words are looked for only
    where the node before it stands, so the cost follows the words that are related instead of all combinations."""

    def __init__(self, vocab: Any) -> None:
        super().__init__(vocab, validate=True)

    def _get_matches(
        self,
        cache: dict[Any, Any],
        doc: Any,
        tree: Mapping[int, Sequence[tuple[str, int]]],
        tokens_to_key: Sequence[str],
        keys_to_position: Mapping[str, Sequence[int]],
    ) -> Iterator[list[int]]:
        """Yield one place a node for each match; `tree` holds the operators and nodes that follow from each node."""
        matcher: Any = self  # spaCy's stubs leave out what is private
        parents = {node: (left, operator) for left, edges in tree.items() for operator, node in edges}
        found: list[list[int]] = [[place] for place in keys_to_position[tokens_to_key[0]]]
        for node in range(1, len(tokens_to_key)):  # a node's parent stands before it: `add` sees to that
            left, operator = parents[node]
            wanted = set(keys_to_position[tokens_to_key[node]])
            after: dict[int, list[int]] = defaultdict(list)
            for start in {places[left] for places in found} if wanted else ():
                after[start] = [place for place in matcher._resolve_node_operator(cache, doc, start, operator)
                                if place in wanted]  # fmt: skip
            found = [[*places, place] for places in found for place in after[places[left]]]
        yield from found
