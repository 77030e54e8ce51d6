"""From files of labels to a folder with a pipeline: what `headrace annotate train` does."""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.found import FOUND, Found
from annotate.labels import Labelled, read_labels
from annotate.lesson import Lesson, Recipe
from annotate.nlp import LEARNED, load_encoder, load_nlp
from annotate.scores import entity_scores, relation_scores
from catalog.errors import InputError
from catalog.ids import make_id
from catalog.models import resolve

if TYPE_CHECKING:
    from spacy.language import Language

HELD_OUT = 10  # every tenth text, where no test file is given


def teach(lesson: Lesson, recipe: Recipe, note: Callable[[str], None]) -> dict[str, Any]:
    """Train on the labels, score on the test file or on what was held out, save the pipeline; return the scores."""
    if lesson.output.exists() and (not lesson.output.is_dir() or any(lesson.output.iterdir())):
        raise InputError(f"--output {lesson.output}: not empty; name a new folder")
    try:  # before an hour is spent on what cannot be kept
        lesson.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {lesson.output}: cannot be written: {error.strerror}") from error
    labelled = _labelled(lesson)
    nlp = load_nlp(resolve("spacy", lesson.base))
    if LEARNED in nlp.pipe_names:
        nlp.remove_pipe(LEARNED)  # what was learned before is learned anew, with the labels that came since
    encoder = load_encoder(resolve("text", lesson.encoder))
    training, test = (labelled, read_labels(lesson.test)) if lesson.test else _split(labelled, recipe.seed)

    from annotate.learn import train

    begun = time.monotonic()
    trained = train(nlp, encoder, training, recipe, note)
    taken = (time.monotonic() - begun) / 60
    nlp.add_pipe(LEARNED).trained = trained  # type: ignore[attr-defined]
    nlp.meta["name"] = f"{nlp.meta['name'].removesuffix('_learned')}_learned"
    nlp.meta["version"] = f"{nlp.meta['version'].partition('+')[0]}+{_digest(training, recipe)}"
    _save(nlp, lesson.output)
    return {
        "output": str(lesson.output),
        "labelled": len(training),
        "minutes": taken,
        "tested": len(test),
        **score(nlp, test, trained.network.shape.entities, trained.network.shape.relations),
    }


def predict(nlp: "Language", texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a learned pipeline says of each text, in the form of labels."""
    predicted = []
    for doc in nlp.pipe(texts):
        found: Found = doc.user_data[FOUND]
        predicted.append(
            {
                "entities": [{"start": e.start_char, "end": e.end_char, "label": e.label_} for e in doc.ents],
                "relations": [{"head": head, "tail": tail, "label": label} for head, tail, label, _ in found.relations],
            }
        )
    return predicted


def score(
    nlp: "Language", test: Sequence[Labelled], entities: Sequence[str], relations: Sequence[str]
) -> dict[str, Any]:
    """Score a learned pipeline strictly: entities by range and label, relations by those of both ends."""
    gold = [item.as_row() for item in test]
    predicted = predict(nlp, [item.text for item in test])
    return {
        "entities": entity_scores(gold, predicted, entities),
        "relations": relation_scores(gold, predicted, relations, strict=True),
    }


def _labelled(lesson: Lesson) -> list[Labelled]:
    labelled = [*(item for path in lesson.labels for item in read_labels(path)), *lesson.reviewed]
    if not labelled:
        raise InputError("no labels; name a file with --labels, or a home with imported labels with --reviews")
    return labelled


def _split(labelled: Sequence[Labelled], seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Hold out every tenth text of a seeded order; several people's labels of one text stay on one side."""
    keys = sorted({item.key for item in labelled})
    random.Random(seed).shuffle(keys)  # noqa: S311 — a split, no secret
    held = set(keys[::HELD_OUT]) if len(keys) > HELD_OUT else set()
    return [item for item in labelled if item.key not in held], [item for item in labelled if item.key in held]


def _digest(labelled: Sequence[Labelled], recipe: Recipe) -> str:
    return make_id("labels", *(repr(item) for item in labelled), repr(recipe))[:8]


def _save(nlp: "Language", output: Path) -> None:
    """Write the pipeline aside and rename it: a folder of that name is whole."""
    aside = output.with_name(f".{output.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        nlp.to_disk(aside)
        if output.exists():
            output.rmdir()
        aside.rename(output)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror}") from error
