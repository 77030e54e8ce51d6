"""Examples of at most so many tokens: documents are cut between lines, and a line that is too long where sentences end.

Tokens are those of the configured language model's tokenizer; no weights are loaded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from catalog.errors import ConfigError
from multimodal.lines import Line, Span, fill
from multimodal.settings import TEMPLATE_FIELDS, FuseSettings, FuseTemplate

if TYPE_CHECKING:
    from semantic_text_splitter import TextSplitter


class Limit:
    """Cuts documents into parts of at most `settings.max_tokens` tokens; `tokenizer` is a tokenizer.json's text."""

    def __init__(self, tokenizer: str, settings: FuseSettings) -> None:
        from tokenizers import Tokenizer

        assert settings.max_tokens is not None
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._max = settings.max_tokens
        self._splitters: dict[int, TextSplitter] = {}
        for template in (settings.template, *settings.languages.values()):
            self._check_template(template)

    def count(self, text: str) -> int:
        """Return how many tokens a text is, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def parts(self, lines: Sequence[Line], separator: str) -> list[list[Line]]:
        """Pack lines into parts in order; every character of texts and transcripts is in exactly one."""
        waiting = [piece for line in lines for piece in self._cut(line)][::-1]
        parts: list[list[Line]] = []
        while waiting:
            part = self._take(waiting, separator)
            while len(part) > 1 and self.count(_joined(part, separator)) > self._max:  # tokens may reach over a border
                waiting.append(part.pop())
            parts.append(part)
        return parts or [[]]

    def _take(self, waiting: list[Line], separator: str) -> list[Line]:
        """Take lines from the end of `waiting` until about the limit, at least one."""
        part: list[Line] = []
        room = self._max
        while waiting:
            text = waiting[-1].reads()
            room -= self.count(separator + text) if part and text else self.count(text)
            if part and room < 0:
                break
            part.append(waiting.pop())
        return part

    def _fits(self, line: Line) -> bool:
        return self.count(line.reads()) <= self._max

    def _cut(self, line: Line) -> list[Line]:
        """Cut a line that is too long: text at sentence ends, speech between passages, other words to what fits."""
        if self._fits(line):
            return [line]
        if not line.fills:
            return [self._shortened(line)]
        room = self._room(line)
        if room < self._max // 2 and line.fills == "transcript":  # its caption would be said with every piece
            line = replace(line, words=dict.fromkeys(line.words, ""))
            room = self._room(line)
        while room > 1:
            pieces = [line.of(spans) for spans in self._packed(line, room)]
            if all(map(self._fits, pieces)):
                return pieces
            room -= 1  # tokens may reach over the borders of the template
        return [line.of([span]) for span in self._split(line.spans, 1)]

    def _room(self, line: Line) -> int:
        return self._max - self.count(replace(line, body="").reads())

    def _shortened(self, line: Line) -> Line:
        room = self._max - self.count(line.token)
        text = line.render()[0]
        while room > 1:
            short = replace(line, max_chars=len(self._chunks(text, room)[0][1].rstrip()))
            if self._fits(short):
                return short
            room -= 1
        return replace(line, max_chars=0)

    def _packed(self, line: Line, room: int) -> list[list[Span]]:
        """Group consecutive spans, split where one alone is too long."""
        groups: list[list[Span]] = []
        left = 0
        for span in self._split(line.spans, room):
            size = self.count(" " + span.text)
            if not groups or size > left:
                groups.append([])
                left = room
            groups[-1].append(span)
            left -= size
        return groups

    def _split(self, spans: Sequence[Span], room: int) -> list[Span]:
        """Split spans of more tokens than there is room for; each piece keeps the time of the whole."""
        return [
            replace(span, start=span.start + start, end=span.start + start + len(text), text=text)
            for span in spans
            for start, text in ([(0, span.text)] if self.count(span.text) <= room else self._chunks(span.text, room))
        ]

    def _chunks(self, text: str, room: int) -> list[tuple[int, str]]:
        """Cut a text at the ends of sentences, else words (Unicode TR 29), and say where each piece starts."""
        from semantic_text_splitter import TextSplitter

        if room not in self._splitters:
            self._splitters[room] = TextSplitter.from_huggingface_tokenizer(self._tokenizer, room, trim=False)
        return list(self._splitters[room].chunk_indices(text))

    def _check_template(self, template: FuseTemplate) -> None:
        for name, fields in TEMPLATE_FIELDS.items():
            words, _ = fill(getattr(template, name), dict.fromkeys(fields, ""))
            size = self.count(template.image_token + template.audio_token + words)
            if size > self._max // 2:
                raise ConfigError(
                    f"fuse.max_tokens: template.{name} alone takes {size} of {self._max} tokens; raise it"
                )


def _joined(lines: Sequence[Line], separator: str) -> str:
    return separator.join(text for line in lines if (text := line.reads()))
