"""Texts that say the same: close sentence vectors, and nothing in the words that speaks against it."""

from collections.abc import Iterator, Sequence

from catalog.decisions import Match
from catalog.home import View
from catalog.lookalikes import Text, other_things
from catalog.minhash import FLAGS, tokenize
from catalog.neighbours import Near
from catalog.settings import DedupSettings

REACH = 180  # words that a sentence model reads at least; what comes after them it does not know
LENGTHS = 0.7  # of two texts of which one may stand for the other, the shorter one's share of the longer
SHARED = 0.25  # share of the words of two texts that are longer than the model reads


def matches(view: View, nearby: Sequence[Near], settings: DedupSettings) -> Iterator[tuple[str, str, Match]]:
    """Yield which of these documents are duplicates, or are to be proposed as such, in place of their vectors' cosine.

    Pages of one template about different things are neither. Where one text is much longer, or both go on after what
    the model reads with other words, a pair is only proposed.
    """
    texts = _texts(view, {end for near in nearby for end in (near.one, near.other)})
    known = [near for near in nearby if near.one in texts and near.other in texts]
    pairs = [(texts[near.one], texts[near.other]) for near in known]
    different = other_things(pairs) if settings.keep_lookalikes and pairs else [False] * len(pairs)
    for near, (one, other), about_two_things in zip(known, pairs, different, strict=True):
        if about_two_things:
            continue
        proposed = near.score < settings.semantic_threshold or not _comparable(one, other)
        threshold = settings.semantic_propose if proposed else settings.semantic_threshold
        yield (
            near.one,
            near.other,
            Match("semantic", "cosine", near.score, threshold, near.model, near.revision, proposed),
        )


def _texts(view: View, ids: set[str]) -> dict[str, Text]:
    rows = view.lookup("documents", "document_id", ids, ["document_id", "title", "text"]).to_pylist()
    return {row["document_id"]: Text(tokenize(row["text"] or ""), tokenize(row["title"] or "")) for row in rows}


def _comparable(one: Text, other: Text) -> bool:
    """Tell whether a sentence model saw enough of two texts to say that one stands for the other."""
    shorter, longer = sorted((len(one.codes), len(other.codes)))
    if shorter < LENGTHS * longer:
        return False
    words, others = (set((text.codes >> FLAGS).tolist()) for text in (one, other))
    return longer <= REACH or len(words & others) >= SHARED * len(words | others)
