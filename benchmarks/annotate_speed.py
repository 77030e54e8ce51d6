"""Compare `annotate` with a bare `nlp.pipe`, in turns: `python benchmarks/annotate_speed.py texts.json [--rounds N]`.

The file is JSON: a list of texts, or an object whose values hold `articleBody` (article-extraction-benchmark).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotate.annotator import SUBJECTS, Annotator
from annotate.nlp import load_nlp
from annotate.settings import AnnotationSchema
from catalog.models import resolve


def main(arguments: Sequence[str]) -> None:
    """Print documents per second of both, and the median ratio over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--model", default="en_core_web_sm", help="or the folder of a learned pipeline")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    texts = _texts(json.loads(given.texts.read_text(encoding="utf-8")))
    weights = resolve("spacy", given.model)
    nlp = load_nlp(weights)
    annotate = Annotator(AnnotationSchema(), {"en": weights})
    names = [f"{number:06d}" for number in range(len(texts))]
    columns = [names, ["document"] * len(texts), [None] * len(texts), ["en"] * len(texts), texts]
    subjects = pa.table([pa.array(column, pa.string()) for column in columns], schema=SUBJECTS)
    list(nlp.pipe(texts[:5]))
    annotate(subjects.slice(0, 5))
    bare, ours = [], []
    for _ in range(given.rounds):  # in turns, by processor time, so that a neighbour's load hits both alike
        bare.append(_seconds(lambda: list(nlp.pipe(texts))))
        ours.append(_seconds(lambda: annotate(subjects)))
    result = {
        "num_texts": len(texts),
        "characters_per_text": sum(map(len, texts)) / len(texts),
        "rounds": given.rounds,
        "bare_docs_per_second": len(texts) / statistics.median(bare),
        "annotate_docs_per_second": len(texts) / statistics.median(ours),
        "ratio": statistics.median(one / other for one, other in zip(bare, ours, strict=True)),
    }
    print(json.dumps(result) if given.json else _table(result))


def _table(result: dict[str, Any]) -> str:
    return (
        f"{result['num_texts']} texts, {result['characters_per_text']:.0f} characters each, {result['rounds']} rounds\n"
        f"bare nlp.pipe  {result['bare_docs_per_second']:6.2f} docs/s\n"
        f"annotate       {result['annotate_docs_per_second']:6.2f} docs/s   ratio {result['ratio']:.3f}"
    )


def _texts(given: Any) -> list[str]:
    return (
        [item["articleBody"] for item in given.values()] if isinstance(given, dict) else [str(item) for item in given]
    )


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main(sys.argv[1:])
