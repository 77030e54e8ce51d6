"""Reviewed labels: one text with its entities and relations a line of JSONL, checked on the way in."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from annotate.bio import BIO, read_bio
from annotate.settings import LABEL_MAP
from catalog.errors import InputError
from catalog.ids import make_id


@dataclass(frozen=True)
class Labelled:
    """One text as somebody labelled it: entities are (start, end, label) in code points of `text`, in order."""

    subject: str  # id of the document, transcript or foreign text that the labels are about
    start: int  # where `text` begins in the subject's text
    text: str
    entities: tuple[tuple[int, int, str], ...]
    relations: tuple[tuple[int, int, str], ...]  # indexes of head and tail among `entities`, and the label
    who: str

    @property
    def key(self) -> tuple[str, int, str]:
        """What two people have labelled alike: the same stretch of the same subject."""
        return self.subject, self.start, self.text

    def as_row(self) -> dict[str, Any]:
        """Return what a line of JSONL says: the inverse of `parse_labelled`."""
        return {
            "subject_id": self.subject,
            "start": self.start,
            "text": self.text,
            "entities": [
                {"start": start, "end": end, "label": label, "text": self.text[start:end]}
                for start, end, label in self.entities
            ],
            "relations": [{"head": head, "tail": tail, "label": label} for head, tail, label in self.relations],
            "who": self.who,
        }


def read_labels(path: Path, who: str = "") -> list[Labelled]:
    """Read a JSONL file of labels; raise InputError naming the file, the line and the field."""
    return [parse_labelled(row, where, who) for where, row in read_rows(path)]


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's place, as messages name it, and its object; raise InputError for what is no JSONL or BIO."""
    if path.suffix in BIO:
        yield from read_bio(path)
        return
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a text may hold what else Python takes for a line's end
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: an object with text, entities and relations is wanted")
        yield where, row


def parse_labelled(row: dict[str, Any], where: str, who: str = "") -> Labelled:
    """Check one line: ranges lie in the text and do not overlap, relations join two entities; labels get schema names.

    Without a `subject_id` the text itself is the subject. `who` speaks for lines that name nobody.
    """
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: field 'text' must hold the labelled text")
    entities, order = _entities(row, text, where)
    relations = []
    for number, given in enumerate(_objects(row, "relations", where)):
        head, tail, label = (given.get(name) for name in ("head", "tail", "label"))
        if not (_is_index(head, len(order)) and _is_index(tail, len(order))) or head == tail:
            raise InputError(f"{where}: relations[{number}]: head and tail must be indexes of two of its entities")
        relations.append((order[head], order[tail], _label(label, f"{where}: relations[{number}]")))
    start = row.get("start", 0)
    if not _is_index(start, None):
        raise InputError(f"{where}: field 'start' must be where the text begins in its subject")
    subject = row.get("subject_id") or make_id("text", text)
    return Labelled(str(subject), start, text, entities, tuple(sorted(set(relations))), str(row.get("who") or who))


def _entities(row: dict[str, Any], text: str, where: str) -> tuple[tuple[tuple[int, int, str], ...], list[int]]:
    """Return the entities in order, and for each given one its place among them."""
    found: list[tuple[int, int, str]] = []
    for number, given in enumerate(_objects(row, "entities", where)):
        start, end = given.get("start"), given.get("end")
        if not (_is_index(start, len(text)) and _is_index(end, len(text) + 1) and start < end):
            raise InputError(f"{where}: entities[{number}]: start and end must be a range of the text")
        said = given.get("text")
        if said is not None and said != text[start:end]:
            raise InputError(f"{where}: entities[{number}]: the text from {start} to {end} is not {said!r}")
        label = _label(given.get("label"), f"{where}: entities[{number}]")
        found.append((start, end, LABEL_MAP.get(label, label)))
    placed = sorted(range(len(found)), key=lambda index: found[index])
    for one, other in pairwise(placed):
        if found[other][0] < found[one][1]:
            raise InputError(f"{where}: entities[{one}] and entities[{other}] overlap; keep one of them")
    places = {index: place for place, index in enumerate(placed)}
    return tuple(found[index] for index in placed), [places[index] for index in range(len(found))]


def _objects(row: dict[str, Any], field: str, where: str) -> Sequence[dict[str, Any]]:
    given = row.get(field) or []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise InputError(f"{where}: field '{field}' must be a list of objects")
    return given


def _is_index(value: object, size: int | None) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0 and (size is None or value < size)


def _label(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or value.split() != [value]:
        raise InputError(f"{where}: field 'label' must be one word")
    return value
