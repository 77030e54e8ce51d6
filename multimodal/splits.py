"""Which split an example belongs to: fixed by its duplicate cluster, inherited from what was fused before (R10)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from catalog.ids import make_id


@dataclass(frozen=True)
class Earlier:
    """An example that an earlier fuse made."""

    example_id: str
    document_id: str
    url: str
    cluster_id: str
    split: str
    fetched_at: datetime
    batch_id: str = ""

    @property
    def age(self) -> tuple[datetime, str]:
        """Order of examples in time."""
        return (self.fetched_at, self.example_id)


@dataclass(frozen=True)
class Place:
    """Where an example stands: its duplicate cluster, that cluster's split, what it changes."""

    cluster_id: str
    split: str
    change: str  # new | revised: its URL had another text | refreshed: the same document again


def split_of(cluster_id: str, val: float, test: float) -> str:
    """Return train, val or test by the hash of a cluster: shares `val` and `test` of all clusters are held out."""
    place = int(make_id("split", cluster_id)[:12], 16) / 16**12
    return "val" if place < val else "test" if place < val + test else "train"


def assign(
    urls: Mapping[str, str],
    links: Iterable[tuple[str, str]],
    earlier: Iterable[Earlier],
    shares: tuple[float, float],
) -> dict[str, Place]:
    """Place each document, given as document id → URL.

    `links` are pairs of ids of documents that stand for one another. The oldest example of a cluster, or of one of its
    URLs, fixes cluster and split for good; a cluster without one is named after its first URL.
    """
    earlier = list(earlier)
    root = _components([*urls, *(item.document_id for item in earlier)], links)
    by_url: dict[str, list[Earlier]] = defaultdict(list)
    by_cluster: dict[str, list[Earlier]] = defaultdict(list)
    named: dict[str, list[str]] = defaultdict(list)
    for item in earlier:
        by_url[item.url].append(item)
        by_cluster[root(item.document_id)].append(item)
    for document, url in urls.items():
        named[root(document)].append(url)
        by_cluster[root(document)] += by_url[url]
    places = {}
    for document, url in urls.items():
        known = by_cluster[root(document)]
        if known:
            oldest = min(known, key=lambda item: item.age)
            cluster, split = oldest.cluster_id, oldest.split
        else:
            cluster = make_id("cluster", min(named[root(document)]))
            split = split_of(cluster, *shares)
        places[document] = Place(cluster, split, _change(document, by_url[url]))
    return places


def _change(document: str, before: list[Earlier]) -> str:
    if not before:
        return "new"
    return "refreshed" if max(before, key=lambda item: item.age).document_id == document else "revised"


class _components:
    """Connected components of documents (union-find with path halving); calling it names a document's component."""

    def __init__(self, members: Iterable[str], links: Iterable[tuple[str, str]]) -> None:
        self._parent = {member: member for member in members}
        for one, other in links:
            first, second = sorted((self(one), self(other)))
            self._parent[second] = first

    def __call__(self, member: str) -> str:
        parent = self._parent.setdefault(member, member)
        while parent != member:
            self._parent[member] = parent = self._parent[parent]
            member, parent = parent, self._parent[parent]
        return member
