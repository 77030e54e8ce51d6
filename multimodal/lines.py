"""The lines of an example: text blocks, pictures and passages of recordings in reading order, and how each reads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from string import Formatter
from typing import Any, TypeAlias

from multimodal.settings import FuseSettings, FuseTemplate

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """The half-open range start … end (code points) of a document's or a transcript's text; when it is heard."""

    start: int
    end: int
    text: str
    heard: tuple[float, float] | None = None


@dataclass(frozen=True)
class Origin:
    """What a line is made of, and the features that can stand in for it."""

    kind: str  # text | image | audio; empty for media that left only words
    ref_id: str | None
    block: int
    licence: str | None = None
    model: str | None = None
    revision: str | None = None
    table: str | None = None  # of the features
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line of the rendered text and the segments that it says; `body` is what the field `fills` says."""

    origin: Origin
    spans: tuple[Span, ...]
    template: str
    fills: str = ""  # text or transcript: the field that the spans fill
    words: Mapping[str, str] = field(default_factory=dict)  # of the other fields
    body: str = ""  # from the start of the first span to the end of the last
    token: str = ""  # before the line, where there are features
    whole: bool = True  # whether it says its recording from beginning to end
    max_chars: int | None = None  # of the rendered line

    def render(self) -> tuple[str, int | None]:
        """Return the line without its token, and where in it the body begins (None: it does not)."""
        text, place = fill(self.template, {**self.words, self.fills: self.body} if self.fills else self.words)
        return text[: self.max_chars], place.get(self.fills)

    def reads(self) -> str:
        """Return the line with its token."""
        return self.token + self.render()[0]

    def of(self, spans: Sequence[Span]) -> "Line":
        """Return the line that says only these consecutive spans of it."""
        first = self.spans[0].start
        body = self.body[spans[0].start - first : spans[-1].end - first]
        return replace(self, spans=tuple(spans), body=body, whole=self.whole and tuple(spans) == self.spans)


def fill(template: str, words: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    """Fill a template; return also where each field's value first begins."""
    text = ""
    places: dict[str, int] = {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            places.setdefault(name, len(text))
            text += words[name]
    return text, places


def lines_of(row: Row, settings: FuseSettings) -> Iterator[Line]:
    """Yield a document's lines in reading order: media after the block that it stands in, but before its caption."""
    template = settings.template_of(row["language"])
    text = row["text"] or ""
    blocks: Sequence[Row] = row["blocks"] or ([{"kind": "paragraph", "start": 0, "end": len(text)}] if text else [])
    anchored: dict[int, list[Row]] = defaultdict(list)
    for item in row["media"] or ():
        place = item["block"] if item["block"] is not None else 0
        _add(anchored[max(0, min(place, len(blocks) - 1))], item)
    if not blocks:
        for item in anchored[0]:
            yield from _medium(item, 0, Span(0, 0, ""), (template, settings))
    for index, block in enumerate(blocks):
        start, end = block["start"], block["end"]
        words = text[start:end]
        origin = Origin("text", row["document_id"], index, row["licence"])
        written = Line(origin, (Span(start, end, words),), template.text, "text", body=words)
        caption = block["kind"] == "caption"
        place = start if caption else end
        context = Span(place, place, words)
        media = [line for item in anchored[index] for line in _medium(item, index, context, (template, settings))]
        yield from [*media, written] if caption else [written, *media]


def _add(items: list[Row], item: Row) -> None:
    """Add a medium to those of a block, once; another reference to it brings the words that the first lacks."""
    for known in items:
        if item["media_id"] is not None and known["media_id"] == item["media_id"]:
            known.update({name: known[name] or item[name] for name in ("caption", "alt")})
            return
    items.append(dict(item))


def _medium(item: Row, block: int, context: Span, how: tuple[FuseTemplate, FuseSettings]) -> Iterator[Line]:
    """Yield the lines of a picture, recording or film; what its block already says (`context`) is not said again."""
    words = {name: _unsaid(item[name], context.text) for name in ("caption", "alt")}
    template = how[0]
    if item["media_id"] is None:
        said = {**words, "description": _described(words, template), "kind": item["kind"]}
        yield Line(Origin("", None, block), (), _unless_empty(template.missing, said, "kind"), words=said)
        return
    pictures = [_picture(item, shown, (context, words), block, how) for shown in _in_time(item["pictures"])]
    if item["speech"] is None:
        yield from pictures
        return
    spoken = _speech(item, block, {} if pictures else words, template)
    yield from _interleaved(pictures, spoken) if pictures else [spoken]


def _in_time(pictures: Sequence[Row] | None) -> list[Row]:
    return sorted(pictures or (), key=lambda shown: shown["seconds"] or 0.0)


def _picture(
    item: Row, shown: Row, given: tuple[Span, Mapping[str, str]], block: int, how: tuple[FuseTemplate, FuseSettings]
) -> Line:
    """Make the line of a picture, or of one key frame of a film: what the page says of a film goes to the first."""
    (context, words), (template, settings) = given, how
    scored = [tag for tag in shown["tags"] or () if tag["score"] >= settings.min_tag_score]
    best = sorted(scored, key=lambda tag: (-tag["score"], tag["label"]))[: settings.num_tags]
    first = shown is _in_time(item["pictures"])[0]
    said = {
        **({name: words[name] if first else "" for name in words}),
        "generated": shown["caption"] or "",
        "tags": template.tag_joint.join(template.labels.get(tag["label"], tag["label"]) for tag in best),
    }
    said["description"] = _described(said, template)
    seconds = (shown["seconds"], shown["seconds"]) if shown["seconds"] is not None else None
    span = Span(context.start, context.end, said["description"], seconds)
    origin = _origin("image", item, block, shown, "image_patches")
    token = template.image_token if origin.shape else ""
    return Line(origin, (span,), _unless_empty(template.image, said), words=said, token=token)


def _speech(item: Row, block: int, words: Mapping[str, str], template: FuseTemplate) -> Line:
    """Make the line that says a whole recording."""
    speech = item["speech"]
    said = {"caption": "", "alt": "", **words}
    said["description"] = _described(said, template)
    origin = _origin("audio", item, block, speech, "audio_states")
    token = template.audio_token if origin.shape else ""
    spans = passages(speech["text"], speech["passages"] or (), speech["duration"])
    body = speech["text"][spans[0].start : spans[-1].end]
    pattern = _unless_empty(template.audio, {**said, "transcript": body})
    if pattern:
        return Line(origin, spans, pattern, "transcript", said, body, token)
    said["kind"] = "audio"
    return Line(origin, spans, _unless_empty(template.missing, said, "kind"), words=said, body=body, token=token)


def _origin(kind: str, item: Row, block: int, by: Row, table: str) -> Origin:
    shape = tuple(by["shape"] or ())
    facts = (item["licence"], by["model"], by["revision"], table if shape else None, shape)
    return Origin(kind, item["media_id"], block, *facts)


def passages(text: str, said: Iterable[Row], duration: float | None) -> tuple[Span, ...]:
    """Find a transcript's passages (text, start and end in seconds) in its text; those that it has not are left out.

    A transcript without any is one passage from beginning to end.
    """
    spans: list[Span] = []
    place = 0
    for passage in said:
        words = (passage["text"] or "").strip()
        start = text.find(words, place) if words else -1
        if start >= 0:
            place = start + len(words)
            spans.append(Span(start, place, words, (passage["start"], passage["end"])))
    whole = Span(0, len(text), text, (0.0, duration) if duration is not None else None)
    covered = bool(spans) and "".join("".join(span.text for span in spans).split()) == "".join(text.split())
    return tuple(spans) if covered else (whole,)


def _interleaved(pictures: Sequence[Line], spoken: Line) -> Iterator[Line]:
    """Yield a film's key frames among what is said, each before the passage that begins with or after it."""
    waiting = list(spoken.spans)
    for picture in pictures:
        shown = picture.spans[0].heard
        said = list(takewhile(lambda span: span.heard and shown and span.heard[0] < shown[0], waiting))  # noqa: B023
        if said:
            yield spoken.of(said)
        waiting = waiting[len(said) :]
        yield picture
    if waiting:
        yield spoken.of(waiting)


def _described(words: Mapping[str, str], template: FuseTemplate) -> str:
    return template.joint.join(dict.fromkeys(value for value in words.values() if value))


def _unsaid(words: str | None, context: str) -> str:
    return words if words and words not in context else ""


def _unless_empty(template: str, words: Mapping[str, str], *constant: str) -> str:
    """Return a template, or none where all the fields that it uses are empty but the constant ones."""
    used = {name for _, name, _, _ in Formatter().parse(template) if name is not None} - {*constant}
    return template if not used or any(words[name] for name in used) else ""
