"""BIO tags from character offsets and back, and files of them: O, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC (R8).

A file holds a word and its tag a line and a blank line after each text; the text itself stands before it as a comment,
so that reading gives the very offsets that were written.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.nlp import tokenizing
from catalog.errors import InputError

if TYPE_CHECKING:
    from spacy.tokens import Doc

SHORT = {"PERSON": "PER", "ORGANIZATION": "ORG", "LOCATION": "LOC"}
LONG = {short: long for long, short in SHORT.items()}
COMMENT = "# "
BIO = frozenset({".bio", ".conll"})  # suffixes of such files
FIELDS = ("subject_id", "start", "who", "text")


def offsets_to_bio(doc: "Doc", entities: Iterable[tuple[int, int, str]]) -> list[str]:
    """Tag each token from (start, end, label) code-point ranges, widened to whole tokens; ValueError if two overlap."""
    from spacy.training import biluo_to_iob, offsets_to_biluo_tags

    spans = (
        doc.char_span(start, end, SHORT.get(label, label), alignment_mode="expand") for start, end, label in entities
    )
    whole = [(span.start_char, span.end_char, span.label_) for span in spans if span is not None]
    return list(biluo_to_iob(offsets_to_biluo_tags(doc, whole)))


def bio_to_offsets(doc: "Doc", tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the (start, end, label) ranges of BIO tags, one tag a token; the inverse of `offsets_to_bio`."""
    from spacy.training import biluo_tags_to_offsets, iob_to_biluo

    found = biluo_tags_to_offsets(doc, iob_to_biluo(list(tags)))
    return [(start, end, LONG.get(str(label), str(label))) for start, end, label in found]


def tag_words(
    text: str, entities: Iterable[tuple[int, int, str]], borders: Iterable[int] = ()
) -> list[tuple[str, str]]:
    """Cut a text into words, also at entities' ends and the given borders, and tag each."""
    entities = list(entities)
    doc = _words(text, {*borders, *(place for start, end, _ in entities for place in (start, end))})
    return [(token.text, tag) for token, tag in zip(doc, offsets_to_bio(doc, entities), strict=True)]


def bio_text(row: dict[str, Any]) -> str:
    """Return one row of labels (text, entities, and of what and whose they are) as it stands in a BIO file."""
    comments = [f"{COMMENT}{name} = {json.dumps(row[name], ensure_ascii=False)}" for name in FIELDS]
    entities = [(item["start"], item["end"], item["label"]) for item in row["entities"]]
    words = [f"{word}\t{tag}" for word, tag in tag_words(row["text"], entities) if word.strip()]
    return "\n".join([*comments, *words, "", ""])


def read_bio(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each text's place in a BIO file and its row of labels; raise InputError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    begun, block = 1, list[str]()
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append(line)
            continue
        if block:
            yield f"{path}, line {begun}", _row(block, f"{path}, line {begun}")
        begun, block = number + 1, []


def _row(block: Sequence[str], where: str) -> dict[str, Any]:
    """Read one text: comments first, then words with tags; without a comment `text` blanks join the words."""
    about: dict[str, Any] = {}
    words: list[tuple[str, str]] = []
    for line in block:
        name, equals, value = line.removeprefix(COMMENT).partition(" = ")
        if line.startswith(COMMENT) and equals and "\t" not in line:
            try:
                about[name] = json.loads(value)
            except ValueError as error:
                raise InputError(f"{where}: comment '{name}' is not JSON: {error}") from error
        else:
            parts = line.split()
            if len(parts) < 2:
                raise InputError(f"{where}: {line!r} is no word with its tag")
            words.append((parts[0], parts[-1]))
    text = about.setdefault("text", " ".join(word for word, _ in words))
    return {**about, "entities": _entities(text, words, where)}


def _entities(text: str, words: Sequence[tuple[str, str]], where: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    place, open_label = 0, ""
    for word, tag in words:
        start = text.find(word, place)
        if start < 0:
            raise InputError(f"{where}: word {word!r} is not in the text where it should be")
        place = start + len(word)
        part, _, label = tag.partition("-")
        if part not in ("B", "I", "O") or (part == "O") != (not label):
            raise InputError(f"{where}: {tag!r} is no BIO tag")
        if part == "B" or (part == "I" and label != open_label):
            found.append({"start": start, "end": place, "label": LONG.get(label, label)})
        elif part == "I":
            found[-1]["end"] = place
        open_label = label
    return found


def _words(text: str, borders: set[int]) -> "Doc":
    """Cut a text by spaCy's rules for its script, and again at borders within words."""
    from spacy.tokens import Doc

    chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
    doc = tokenizing("zh" if chinese else "en").make_doc(text)
    words, spaces = [], []
    for token in doc:
        cuts = [
            0,
            *sorted(place - token.idx for place in borders if token.idx < place < token.idx + len(token)),
            len(token),
        ]
        parts = [token.text[first:last] for first, last in pairwise(cuts)]
        words += parts
        spaces += [False] * (len(parts) - 1) + [bool(token.whitespace_)]
    return Doc(doc.vocab, words=words, spaces=spaces)
