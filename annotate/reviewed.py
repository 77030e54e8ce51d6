"""Labels that people imported: rows of `reviews`, their agreement beside them; the last of each person counts."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.agreement import agreements
from annotate.labels import Labelled, parse_labelled, read_rows
from catalog import review
from catalog.errors import InputError
from catalog.ids import make_id
from catalog.ledger import now

if TYPE_CHECKING:
    from catalog.home import Home, View

LABELLED = "labelled"  # verdict of a review that holds labels
AGREEMENT = "agreement"  # verdict of one that holds the agreement of two people on them


def import_labels(home: "Home", path: Path, who: str) -> dict[str, Any]:
    """Publish a file's labels and how far their authors agree with others; importing it again changes nothing.

    Rows that say `"reviewed": false`, as a queue's do, are counted as open and left out.
    """
    given = [(where, row) for where, row in read_rows(path)]
    if not given:
        raise InputError(f"{path}: no labels; 'headrace labels queue' makes a file to label")
    said = [(where, parse_labelled(row, where, who)) for where, row in given if row.get("reviewed") is not False]
    for where, item in said:
        if not item.who:
            raise InputError(f"{where}: nobody's labels; name the annotator with --who or in the field 'who'")
    view = home.view()
    placed = [_placed(view, where, item) for where, item in said]
    last = {(*key, who): row for key, who, row in _last(view)}
    new = []
    for item in placed:
        before = last.get((*item.key, item.who))
        labels = json.dumps(_labels(item), sort_keys=True, ensure_ascii=False)
        if before is None or before["labels"] != labels:
            parts = (item.subject, labels, item.who, before["review_id"] if before else "")
            new.append(_row(item.subject, LABELLED, labels, item.who, make_id("labels", *parts)))
    review.publish(home, list({row["review_id"]: row for row in new}.values()))
    found = agreement(home, store=True)
    return {
        "file": str(path),
        "new": len(new),
        "labelled": len(placed),
        "open": len(given) - len(placed),
        "agreement": found["pairs"],
    }


def agreement(home: "Home", store: bool = False) -> dict[str, Any]:
    """Return Cohen's kappa of every two people who labelled the same texts; store what is new of it as reviews."""
    view = home.view()
    found = agreements(reviewed(view))
    if store:
        known = {row["review_id"] for row in view.read("reviews").to_pylist() if row["verdict"] == AGREEMENT}
        rows = []
        for pair in found:
            labels, names = json.dumps(pair, sort_keys=True), " and ".join(pair["who"])
            rows.append(_row(make_id(AGREEMENT, *pair["who"]), AGREEMENT, labels, names, make_id(AGREEMENT, labels)))
        review.publish(home, [row for row in rows if row["review_id"] not in known])
    return {"pairs": found}


def reviewed(view: "View") -> list[Labelled]:
    """Return the imported labels, of each person the last of each text, in a fixed order."""
    rows = {(*key, who): row for key, who, row in _last(view)}
    return [
        parse_labelled(json.loads(row["labels"]) | {"subject_id": row["subject_id"]}, "reviews", row["who"])
        for _, row in sorted(rows.items())
    ]


def _last(view: "View") -> list[tuple[tuple[str, int, str], str, dict[str, Any]]]:
    """Return each label review, oldest first, with what it is about and by whom."""
    rows = [row for row in view.read("reviews").to_pylist() if row["verdict"] == LABELLED]
    rows.sort(key=lambda row: (view.state.published[row["batch_id"]].seq, row["review_id"]))
    about = [json.loads(row["labels"]) for row in rows]
    return [
        ((row["subject_id"], said["start"], said["text"]), row["who"], row)
        for row, said in zip(rows, about, strict=True)
    ]


def _labels(item: Labelled) -> dict[str, Any]:
    return {name: value for name, value in item.as_row().items() if name not in ("subject_id", "who")}


def _row(subject: str, verdict: str, labels: str, who: str, review_id: str) -> dict[str, Any]:
    return {
        "review_id": review_id, "subject_id": subject, "verdict": verdict, "labels": labels, "comment": "", "who": who,
        "time": now(),
    }  # fmt: skip


def _placed(view: "View", where: str, item: Labelled) -> Labelled:
    """Check a subject against the live documents and transcripts; a whole document's text names it by itself."""
    if item.subject == make_id("text", item.text):
        digest = hashlib.sha256(item.text.encode()).hexdigest()
        known = view.lookup("documents", "text_sha256", [digest], ["document_id"])["document_id"].to_pylist()
        return item if not known else _about(item, min(known))
    texts = [
        *view.lookup("documents", "document_id", [item.subject], ["text"])["text"].to_pylist(),
        *view.lookup("transcripts", "media_id", [item.subject], ["text"])["text"].to_pylist(),
    ]
    if not texts:
        raise InputError(f"{where}: subject {item.subject} is no live document or transcript; leave subject_id out")
    if not any(_holds(text, item) for text in texts):
        raise InputError(f"{where}: subject {item.subject} has another text from {item.start} on; label it anew")
    return item


def _about(item: Labelled, subject: str) -> Labelled:
    return Labelled(subject, item.start, item.text, item.entities, item.relations, item.who)


def _holds(text: str | None, item: Labelled) -> bool:
    return text is not None and text[item.start : item.start + len(item.text)] == item.text
