"""Measure entities and relations against labels: `python benchmarks/annotate_relations.py dev.jsonl [--json]`.

Entities: strict, the same range and label. Relations: the same label, both ends overlapping the gold ends. Where the
gold file holds two places as one entity ("Tupelo, Miss." in sentences about births), it cannot hold a relation between
them: such predictions are wrong in `precision` and left out of `precision_judged`; `num_unjudgeable` counts them.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from annotate.annotator import SUBJECTS
from annotate.job import make_worker
from catalog.settings import Config

Row: TypeAlias = dict[str, Any]
GOLD_LABELS = {"LOC": "LOCATION", "ORG": "ORGANIZATION", "PERSON": "PERSON", "PER": "PERSON"}


def main(arguments: Sequence[str]) -> None:
    """Print the scores of the configured annotator on one labelled file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "gold", type=Path, help="JSONL of text, entities (start, end, label), relations (head, tail, label)"
    )
    parser.add_argument("--config", type=Path, help="a configuration file; the defaults otherwise")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    gold = [json.loads(line) for line in given.gold.read_text(encoding="utf-8").splitlines()]
    predicted = annotate([row["text"] for row in gold], Config.load(given.config) if given.config else Config({}))
    scores = {"entities": entity_scores(gold, predicted), "relations": relation_scores(gold, predicted)}
    print(json.dumps(scores, indent=1) if given.json else _table(scores))


def annotate(texts: Sequence[str], config: Config) -> list[Row]:
    """Annotate English texts with the configured pipeline."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    columns = [ids, ["document"] * len(ids), [None] * len(ids), ["en"] * len(ids), list(texts)]
    subjects = pa.table([pa.array(column, pa.string()) for column in columns], schema=SUBJECTS)
    result = make_worker(config)()(subjects)
    if result["rejects"].num_rows:
        sys.exit(f"error: {result['rejects']['detail'][0].as_py()}")
    return [dict(row) for row in result["annotations"].to_pylist()]


def entity_scores(gold: Sequence[Row], predicted: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Score strict entities per label and over all labels."""
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for truth, guess in zip(gold, predicted, strict=True):
        known = {
            (e["start"], e["end"], GOLD_LABELS[e["label"]]) for e in truth["entities"] if e["label"] in GOLD_LABELS
        }
        made = {(e["start"], e["end"], e["label"]) for e in guess["entities"]}
        for counter, spans in ((right, known & made), (found, made), (wanted, known)):
            counter.update(label for _, _, label in spans)
    labels = {label: _prf(right[label], found[label], right[label], wanted[label]) for label in sorted(wanted)}
    return labels | {"all": _prf(right.total(), found.total(), right.total(), wanted.total())}


def relation_scores(gold: Sequence[Row], predicted: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Score relations by overlapping ends, per label and over all labels."""
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    unjudgeable: Counter[str] = Counter()
    recalled: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for truth, guess in zip(gold, predicted, strict=True):
        known, made = _triples(truth), _triples(guess)
        labels = {label for label, _, _ in made} | {"WORKS_FOR", "LOCATED_IN"}
        wanted.update(label for label, _, _ in known if label in labels)
        recalled.update(one[0] for one in known if any(_same(one, other) for other in made))
        found.update(label for label, _, _ in made)
        for one in made:
            if any(_same(one, other) for other in known):
                right[one[0]] += 1
            elif any(_overlap(one[1], _range(e)) and _overlap(one[2], _range(e)) for e in truth["entities"]):
                unjudgeable[one[0]] += 1
    names = sorted(found.keys() | wanted.keys())
    scores = {}
    for name, over in [*((name, [name]) for name in names), ("all", names)]:
        hits, all_found, unclear = (sum(c[label] for label in over) for c in (right, found, unjudgeable))
        scores[name] = _prf(hits, all_found, sum(recalled[x] for x in over), sum(wanted[x] for x in over)) | {
            "precision_judged": hits / max(1, all_found - unclear),
            "num_predicted": all_found,
            "num_unjudgeable": unclear,
        }
    return scores


def _triples(row: Row) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    ends = [_range(entity) for entity in row["entities"]]
    return [(relation["label"], ends[relation["head"]], ends[relation["tail"]]) for relation in row["relations"]]


def _range(entity: Row) -> tuple[int, int]:
    return entity["start"], entity["end"]


def _same(one: tuple[str, Any, Any], other: tuple[str, Any, Any]) -> bool:
    return one[0] == other[0] and _overlap(one[1], other[1]) and _overlap(one[2], other[2])


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _prf(right: int, found: int, recalled: int, wanted: int) -> dict[str, float]:
    precision, recall = right / max(1, found), recalled / max(1, wanted)
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(1e-9, precision + recall)}


def _table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = []
    for kind, rows in scores.items():
        for label, values in rows.items():
            cells = (f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
            lines.append(f"{kind:10s} {label:13s} {'  '.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
