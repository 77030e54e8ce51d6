"""What sitemaps and feeds name: pages, what is said about each, and more lists."""

from dataclasses import dataclass, field, replace

from ingest.hints import NO_HINTS, Hints, Medium
from ingest.urls import canonical, type_by_name

KINDS = ("image", "audio", "video")


@dataclass(frozen=True)
class Entry:
    """One line of a list: a page, or ('' for a podcast without a page) its media alone."""

    url: str
    hints: Hints = NO_HINTS
    changed: float | None = None  # seconds since 1970, by the list's own word


@dataclass
class Listing:
    """What one list names, in its order."""

    entries: list[Entry] = field(default_factory=list)
    lists: list[Entry] = field(default_factory=list)  # of a sitemap index

    @property
    def pages(self) -> list[str]:
        """The pages' URLs."""
        return [entry.url for entry in self.entries if entry.url]

    def hints(self) -> dict[str, Hints]:
        """Return what is said of each page; what is said of no page goes to its media."""
        found = {}
        for entry in self.entries:
            if entry.url:
                found[entry.url] = entry.hints
            else:
                found.update({medium.url: replace(entry.hints, media=()) for medium in entry.hints.media})
        return found

    def changes(self) -> dict[str, float]:
        """Return when each page or list changed, where that is said."""
        return {entry.url: entry.changed for entry in (*self.lists, *self.entries) if entry.url and entry.changed}


def resolve(url: str, base: str | None) -> str:
    """Return the canonical form of what a list names, '' where it names nothing or no page of the web."""
    return (canonical(url, base) or "") if url.strip() else ""


def make_medium(url: str, base: str, declared: str = "", alt: str = "") -> Medium | None:
    """Return a picture, recording or film by its declared type (or that of its name), None for anything else."""
    address = resolve(url, base)
    if not address:
        return None
    kind = next((kind for kind in (declared, type_by_name(address)) if kind), "").partition("/")[0].lower()
    return Medium(address, kind, alt) if kind in KINDS else None
