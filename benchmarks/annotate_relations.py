"""Measure entities and relations against labels: `python -m benchmarks.annotate_relations dev.jsonl [--json]`.

Patterns, what is learned from the first 100, 300 and all texts of train.jsonl beside the labels, and two references:
spaCy's own entities, and relations by co-occurrence. Entities are strict (same range, same label). Relations are end to
end, `strict` (both ends' ranges and labels) and `overlap` (both ends overlap the gold ends). Where the gold file holds
two places as one entity ("Tupelo, Miss."), it cannot hold a relation between them: `num_unjudgeable` counts such finds.
`invented` counts relations in labelled texts that have none of these, and those (true or not) in a plain encyclopaedia.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pyarrow as pa

from annotate.annotator import SUBJECTS
from annotate.job import make_worker
from annotate.labels import Labelled, read_labels
from annotate.lesson import Lesson, Recipe
from annotate.scores import entity_scores, relation_scores
from annotate.settings import LABEL_MAP
from annotate.teach import teach
from catalog.models import resolve
from catalog.settings import Config

Row: TypeAlias = dict[str, Any]
ENTITIES = ("PERSON", "ORGANIZATION", "LOCATION")
RELATIONS = ("WORKS_FOR", "LOCATED_IN")
COOCCURRING = {("PERSON", "ORGANIZATION"): "WORKS_FOR", ("LOCATION", "LOCATION"): "LOCATED_IN"}
PLAIN = 100
OFFLINE = {"models": "offline"}


def main(arguments: Sequence[str]) -> None:
    """Print the scores of every annotator on one labelled file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gold", type=Path, help="JSONL of text, entities, relations; train.jsonl stands beside it")
    parser.add_argument("--sizes", default="100,300,0", help="texts to learn from, 0: all; empty: learn nothing")
    parser.add_argument("--config", type=Path, help="score this configuration's annotator, and no other")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    gold = [item.as_row() for item in read_labels(given.gold)]
    plain = _plain(given.gold.parent.parent / "domains" / "en_wiki" / "test.jsonl")
    if given.config:
        scores = {"configured": measure(Config.load(given.config), gold, plain)}
    else:
        sizes = [int(size) for size in given.sizes.split(",") if size]
        scores = dict(_all(gold, plain, read_labels(given.gold.with_name("train.jsonl")), sizes))
    print(json.dumps(scores) if given.json else _table(scores))


def _all(
    gold: Sequence[Row], plain: Sequence[str], training: Sequence[Labelled], sizes: Sequence[int]
) -> Iterator[tuple[str, Row]]:
    """Yield each annotator's name and scores."""
    yield "references", references(gold)
    yield "patterns", measure(Config(OFFLINE), gold, plain)
    for size in sizes:
        chosen = training[:size] if size else training
        with TemporaryDirectory() as folder:
            labels, model = Path(folder) / "labels.jsonl", Path(folder) / "model"
            labels.write_text("".join(json.dumps(item.as_row()) + "\n" for item in chosen), encoding="utf-8")
            started = time.process_time()
            teach(Lesson((labels,), model, test=labels), Recipe(), lambda line: print(line, file=sys.stderr))
            minutes = (time.process_time() - started) / 60
            config = Config({**OFFLINE, "annotation_schema": {"models": {"en": str(model)}}})
            yield f"learned_{len(chosen)}", measure(config, gold, plain) | {"training_cpu_minutes": minutes}


def measure(config: Config, gold: Sequence[Row], plain: Sequence[str]) -> Row:
    """Score one configuration's annotator, and count what it invents."""
    predicted = annotate([row["text"] for row in gold], config)
    without = [place for place, row in enumerate(gold) if not _related(row)]
    return {
        "entities": entity_scores(gold, predicted, ENTITIES),
        "strict": relation_scores(gold, predicted, RELATIONS, strict=True),
        "overlap": relation_scores(gold, predicted, RELATIONS, strict=False),
        "num_unjudgeable": sum(_unjudgeable(row, made) for row, made in zip(gold, predicted, strict=True)),
        "invented": {
            "labelled": _density([gold[place]["text"] for place in without], [predicted[place] for place in without]),
            "plain": _density(plain, annotate(plain, config)),
        },
    }


def references(gold: Sequence[Row]) -> Row:
    """Score spaCy's own entities, and on them relations wherever the right labels stand in one sentence."""
    from annotate.nlp import load_nlp

    predicted = []
    for doc in load_nlp(resolve("spacy", "en_core_web_sm")).pipe(row["text"] for row in gold):
        ends = [(one, LABEL_MAP.get(one.label_, one.label_)) for one in doc.ents]
        relations = [
            {"head": head, "tail": tail, "label": COOCCURRING[one[1], other[1]]}
            for head, one in enumerate(ends)
            for tail, other in enumerate(ends)
            if (one[1], other[1]) in COOCCURRING
            and one[0].sent == other[0].sent
            and (one[1] == "PERSON" or tail == head + 1)
        ]
        entities = [{"start": one.start_char, "end": one.end_char, "label": label} for one, label in ends]
        predicted.append({"entities": entities, "relations": relations})
    return {
        "entities": entity_scores(gold, predicted, ENTITIES),
        "strict": relation_scores(gold, predicted, RELATIONS, strict=True),
        "overlap": relation_scores(gold, predicted, RELATIONS, strict=False),
    }


def annotate(texts: Sequence[str], config: Config) -> list[Row]:
    """Annotate English texts with the configured pipeline."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    columns = [ids, ["document"] * len(ids), [None] * len(ids), ["en"] * len(ids), list(texts)]
    subjects = pa.table([pa.array(column, pa.string()) for column in columns], schema=SUBJECTS)
    result = make_worker(config)()(subjects)
    if result["rejects"].num_rows:
        sys.exit(f"error: {result['rejects']['detail'][0].as_py()}")
    return [dict(row) for row in result["annotations"].to_pylist()]


def _plain(path: Path) -> list[str]:
    """Return a hundred plain texts, or none where they are not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line)["text"] for line in lines[:PLAIN]]


def _related(row: Row) -> bool:
    return any(item["label"] in RELATIONS for item in row["relations"])


def _density(texts: Sequence[str], predicted: Sequence[Row]) -> dict[str, float]:
    words = sum(len(text.split()) for text in texts)
    found = sum(item["label"] in RELATIONS for row in predicted for item in row["relations"])
    return {"texts": len(texts), "words": words, "relations_per_1000_words": 1000 * found / max(1, words)}


def _unjudgeable(truth: Row, guess: Row) -> int:
    """Count found relations whose two ends the gold file has as one entity."""
    count = 0
    for item in guess["relations"]:
        ends = [guess["entities"][item[name]] for name in ("head", "tail")]
        count += any(
            all(end["start"] < one["end"] and one["start"] < end["end"] for end in ends) for one in truth["entities"]
        )
    return count


def _table(scores: Mapping[str, Row]) -> str:
    lines = []
    for name, kinds in scores.items():
        for kind in ("entities", "strict", "overlap"):
            for label, values in kinds[kind].items():
                cells = "  ".join(f"{key} {values[key]:.3f}" for key in ("precision", "recall", "f1"))
                lines.append(f"{name:14s} {kind:9s} {label:13s} {cells}")
        for key in ("invented", "num_unjudgeable", "training_cpu_minutes"):
            if key in kinds:
                lines.append(f"{name:14s} {key} {kinds[key]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
