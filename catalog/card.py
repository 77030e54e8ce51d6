"""The data card of an export: what is in it, from where, under which licences, in numbers and plots."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa

FACETS = {"split": "Splits", "language": "Languages", "source_class": "Classes of sources", "source": "Sources",
          "licence": "Licences"}  # fmt: skip
SHOWN = 12  # values of a facet; the others are added up
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
WIDTH, ROW, LABEL = 640, 22, 230


class Tally:
    """Counts of the examples that were written."""

    def __init__(self) -> None:
        self.rows = 0
        self.characters = 0
        self.media: Counter[str] = Counter()
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._facets: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
        self._lengths: Counter[int] = Counter()
        self._licences: dict[str, set[str]] = {}

    def add(self, rows: pa.Table) -> None:
        """Count one table of examples."""
        self.rows += rows.num_rows
        for name, counter in self._facets.items():
            counter.update(value or "unknown" for value in rows[name].to_pylist())
        for source, licence in zip(rows["source"].to_pylist(), rows["licence"].to_pylist(), strict=True):
            self._licences.setdefault(source or "unknown", set()).add(licence or "unknown")
        lengths = [length or 0 for length in pa.compute.utf8_length(rows["text"]).to_pylist()]
        self.characters += sum(lengths)
        self._lengths.update(int(math.log2(length)) if length else 0 for length in lengths)
        for segments in rows["segments"].to_pylist():  # a recording has a segment for each passage
            shown = {(segment["kind"], segment["ref_id"]) for segment in segments or ()}
            self.media.update(kind for kind, _ in shown if kind in ("image", "audio"))
        times = [
            time for time in (*pa.compute.min_max(rows["fetched_at"]).as_py().values(), self.first, self.last) if time
        ]
        self.first, self.last = min(times, default=None), max(times, default=None)

    def counts(self, facet: str) -> dict[str, int]:
        """Return the examples of each value of a facet, by value."""
        return dict(sorted(self._facets[facet].items()))

    def licences_by_source(self) -> dict[str, frozenset[str]]:
        """Return the licences that each source's pages named."""
        return {source: frozenset(licences) for source, licences in self._licences.items()}

    def top(self, facet: str) -> list[tuple[str, int]]:
        """Return the most frequent values of a facet, and the sum of the others."""
        ordered = sorted(self._facets[facet].items(), key=lambda item: (-item[1], item[0]))
        others = sum(count for _, count in ordered[SHOWN:])
        return [*ordered[:SHOWN], *([(f"{len(ordered) - SHOWN} others", others)] if others else [])]

    def lengths(self) -> list[tuple[str, int]]:
        """Return how many texts are how long, by powers of two of characters."""
        if not self._lengths:
            return []
        span = range(min(self._lengths), max(self._lengths) + 1)
        return [(f"{2**power:,}–{2 ** (power + 1) - 1:,}", self._lengths[power]) for power in span]


def plots(tally: Tally) -> dict[str, str]:
    """Draw each facet and the lengths as SVG bars, by file name."""
    drawn = {f"plots/{name}.svg": bars(title, tally.top(name)) for name, title in FACETS.items()}
    return drawn | {"plots/length.svg": bars("Characters of text", tally.lengths())}


def bars(title: str, counted: Sequence[tuple[str, int]]) -> str:
    """Draw horizontal bars with their counts."""
    largest = max((count for _, count in counted), default=1) or 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{ROW * (len(counted) + 2)}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, count) in enumerate(counted, start=1):
        y, width = ROW * number + 10, max(1, round((WIDTH - LABEL - 90) * count / largest))
        short = label if len(label) <= 34 else f"{label[:33]}…"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">'
            f"{escape(short)}<title>{escape(label)}</title></text>",
            f'<rect x="{LABEL}" y="{y + 2}" width="{width}" height="{ROW - 6}" fill="#3b6ea5"/>',
            f'<text x="{LABEL + width + 6}" y="{y + 13}">{count:,}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def card(told: Mapping[str, Any], tally: Tally, beside: Sequence[str]) -> str:
    """Write README.md: front matter as the Hub reads it, then prose, tables and plots."""
    pictures = [f"![{name}]({name})" for name in beside if name.endswith(".svg")]
    fetched = f"{tally.first:%Y-%m-%d} to {tally.last:%Y-%m-%d}" if tally.first and tally.last else "never"
    chosen = f" Only examples with `{told['where']}` are in it." if told["where"] else ""
    parts = [
        _front_matter(told, tally),
        "# Fused examples of text, pictures and sound\n",
        f"{tally.rows:,} examples with {tally.characters:,} characters of text, {tally.media['image']:,} pictures and "
        f"{tally.media['audio']:,} recordings, fetched {fetched}. Exported by headrace from seq {told['seq']} of its "
        f"ledger; the same seq gives the same bytes.{chosen} Superseded records and duplicates are "
        "left out. Text was cleaned and personal data masked as the settings of that time said; `manifest.json` names "
        "every file with its SHA-256.\n",
        "## Licences and sources\n",
        "The licence is what each page said of itself; `unknown` means that it said nothing, not that anything is "
        "allowed.\n",
        _table("licence", tally.top("licence")),
        _table("source", tally.top("source")),
        "## Splits and languages\n",
        "Splits follow the hash of the duplicate cluster: near-duplicates never stand on both sides.\n",
        _table("split", tally.top("split")),
        _table("language", tally.top("language")),
        "## Plots\n",
        "\n\n".join(pictures) + "\n",
        *(["## Left out\n", f"{len(told['missing_media'])} media could not be read; `manifest.json` names them.\n"]
          if told["missing_media"] else []),
    ]  # fmt: skip
    return "\n".join(parts)


def _front_matter(told: Mapping[str, Any], tally: Tally) -> str:
    import yaml

    sized = next((i for i, size in enumerate(SIZES) if tally.rows < size), len(SIZES))
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")
    front: dict[str, Any] = {
        "pretty_name": "headrace export",
        "license": "other",
        "language": [name for name in tally.counts("language") if name != "unknown"],
        "size_categories": [names[sized]],
    }
    if told["format"] == "huggingface":
        data = [{"split": split, "path": f"data/{split}-*.parquet"} for split in tally.counts("split")]
        front["configs"] = [{"config_name": "default", "data_files": data}]
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n"


def _table(title: str, counted: Sequence[tuple[str, int]]) -> str:
    lines = [f"| {title} | examples |", "|---|---:|"]
    lines += [f"| {label.replace('|', chr(92) + '|')} | {count:,} |" for label, count in counted]
    return "\n".join(lines) + "\n"
