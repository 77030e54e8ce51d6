"""Relations as triples, each with the sentence that says it (R19): who, what, whom, where it stands, how sure."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def triples(
    rows: Iterable[dict[str, Any]], relation: str | None = None, min_score: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield a triple for each relation of annotated texts; offsets are code points of the subject's text."""
    for row in rows:
        for found in row["relations"] or ():
            if (relation is None or found["label"] == relation) and found["score"] >= min_score:
                yield _triple(row, found)


def verbalise(head: str, relation: str, tail: str) -> str:
    """Say a triple in words: `Maria Lopez works for Siemens`."""
    return " ".join(f"{head} {relation.lower().replace('_', ' ')} {tail}".split())


def _triple(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    head, tail = row["entities"][found["head"]], row["entities"][found["tail"]]
    return {
        "head": head["text"],
        "relation": found["label"],
        "tail": tail["text"],
        "line": verbalise(head["text"], found["label"], tail["text"]),
        "score": found["score"],
        "subject_id": row["subject_id"],
        "subject_kind": row["subject_kind"],
        "url": row["url"],
        "start": found["start"],
        "end": found["end"],
        "sentence": row["text"][found["start"] : found["end"]],
        **{f"head_{name}": head[name] for name in ("start", "end", "label")},
        **{f"tail_{name}": tail[name] for name in ("start", "end", "label")},
        "annotator": row["annotator"],
        "version": row["version"],
    }


def render(result: dict[str, Any], console: "Console") -> None:
    """Print a line for each triple with its evidence."""
    for item in result["triples"]:
        console.print(f"{item['line']}  {item['score']:.2f}", highlight=False, markup=False, soft_wrap=True)
        where = f"{item['url'] or item['subject_id']} {item['start']}–{item['end']}"
        line = f"  {' '.join(item['sentence'].split())}  ({where})"
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    if not result["triples"]:
        console.print("no relations; see annotation_schema.relations and 'headrace annotate'")
