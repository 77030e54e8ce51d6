"""Files of labels: what to label next, what was labelled, what the annotator says; JSONL, or words with BIO tags."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.bio import BIO, bio_text
from annotate.labels import read_labels
from catalog import files
from catalog.errors import InputError
from catalog.ids import make_id
from catalog.settings import Config

if TYPE_CHECKING:
    from catalog.home import Home

Row = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """Which texts a queue is made of: so many, drawn by seeded hash, of one language or of all."""

    num_texts: int = 200
    seed: int = 0
    language: str | None = None


def write_queue(config: Config, output: Path, size: int, choice: Choice) -> Row:
    """Write the sentences that the configured annotator is least sure of; those that somebody labelled stay out."""
    from annotate.annotated import annotated
    from annotate.job import make_worker
    from annotate.queue import queue
    from annotate.reviewed import reviewed
    from catalog.home import Home

    with Home.open(config.catalog) as home:
        view = home.view()
        known = {item.key for item in reviewed(view)}
        wanted = (row for row in annotated(view) if choice.language in (None, row["language"]))
        drawn = partial(_drawn, choice.seed)
        rows = nsmallest(choice.num_texts, wanted, key=drawn)
    if not rows:
        what = f"{config.catalog.root}: nothing is annotated here, or not in that language"
        raise InputError(f"{what}; run 'headrace annotate CONFIG' first")
    found = queue(rows, make_worker(config)(), known, size)
    return {"file": str(output), "texts": len(rows), "sentences": write_rows(output, found)}


def _drawn(seed: int, row: Row) -> str:
    return make_id("queue", str(seed), row["subject_id"])


def write_labels(home: "Home | None", labels: Path | None, reviewed_only: bool, output: Path) -> Row:
    """Write a file's labels, people's imported ones, or the newest annotations of current texts, block by block."""
    if labels is not None:
        rows: Iterable[Row] = (item.as_row() for item in read_labels(labels))
    elif home is None:
        raise InputError("no labels to export; name a file or a home")
    elif reviewed_only:
        from annotate.reviewed import reviewed

        rows = (item.as_row() for item in reviewed(home.view()))
    else:
        from annotate.annotated import annotated

        rows = (block for row in annotated(home.view()) for block in _blocks(row))
    made = (bio_text(row) for row in rows) if output.suffix in BIO else (_json_line(row) for row in rows)
    return {"file": str(output), "texts": _write(output, made)}


def write_rows(output: Path, rows: Iterable[Row]) -> int:
    """Write rows as JSONL, whole or not at all; return their number."""
    return _write(output, (_json_line(row) for row in rows))


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write(output: Path, parts: Iterable[str]) -> int:
    lines = list(parts)
    try:
        files.replace(str(output), "".join(lines).encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    return len(lines)


def _blocks(row: Row) -> Iterator[Row]:
    """Cut an annotated text at blank lines, which no entity and no relation crosses."""
    start = 0
    for text in row["text"].split("\n\n"):
        end = start + len(text)
        inside = [i for i, item in enumerate(row["entities"]) if start <= item["start"] and item["end"] <= end]
        places = {index: place for place, index in enumerate(inside)}
        yield {
            "subject_id": row["subject_id"],
            "start": start,
            "text": text,
            "who": row["annotator"],
            "entities": [
                row["entities"][index] | {name: row["entities"][index][name] - start for name in ("start", "end")}
                for index in inside
            ],
            "relations": [
                {
                    "head": places[item["head"]],
                    "tail": places[item["tail"]],
                    "label": item["label"],
                    "score": item["score"],
                }
                for item in row["relations"]
                if item["head"] in places and item["tail"] in places
            ],
        }
        start = end + 2
