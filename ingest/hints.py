"""What a list, a feed or a row of a table says about a page beside the page itself."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

DAY = re.compile(r"\s*(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})")
MAX_TEXT = 500  # characters of a title that are kept: hints travel in a record's header
MAX_MEDIA = 50
MAX_URL = 4096


def encodable(text: str) -> str:
    """Return a text that every encoder takes: JSON and YAML can spell lone surrogates, which become '?'."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Medium:
    """A picture, recording or film that belongs to the page, whether its markup shows it or not."""

    url: str
    kind: str  # image | audio | video
    alt: str = ""


@dataclass(frozen=True)
class Hints:
    """Facts that fill what the page does not say of itself; `date` is an ISO 8601 day."""

    title: str = ""
    author: str = ""
    date: str = ""
    language: str = ""
    media: tuple[Medium, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what is known, ready for JSON, no longer than a record's header may be."""
        texts = {name: value for name, value in asdict(self).items() if name != "media"}
        given = {name: " ".join(encodable(value).split())[:MAX_TEXT] for name, value in texts.items()}
        known: dict[str, Any] = {name: value for name, value in given.items() if value}
        if media := [medium for medium in self.media if len(medium.url) <= MAX_URL][:MAX_MEDIA]:
            known["media"] = [asdict(medium) | {"alt": encodable(medium.alt[:MAX_TEXT])} for medium in media]
        return known


NO_HINTS = Hints()


def hints_from(given: Mapping[str, Any] | None) -> Hints:
    """Return the hints of a `pages` row or of what `as_dict` returned."""
    values = {name: value for name, value in (given or {}).items() if value}
    media = tuple(Medium(item["url"], item["kind"], item.get("alt") or "") for item in values.pop("media", ()))
    return Hints(**values, media=media)


def parse_time(value: object) -> datetime | None:
    """Read a point in time: a datetime, a date, seconds since 1970, ISO 8601 or RFC 5322; None where it is none."""
    match value:
        case datetime():
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case int() | float() if not isinstance(value, bool):
            try:
                seconds = value / 1000 if abs(value) > 1e11 else value  # later than the year 5138: milliseconds
                return datetime.fromtimestamp(seconds, UTC)
            except (ValueError, OverflowError, OSError):
                return None
        case str():
            return _parse_text(value.strip())
        case _:
            return None


def _parse_text(value: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime, _first_day):
        try:
            moment = parse(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _first_day(value: str) -> datetime:
    found = DAY.match(value)
    if not found:
        raise ValueError(value)
    return datetime(*(int(part) for part in found.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]


def day_of(value: object) -> str:
    """Return the ISO 8601 day of a point in time as `parse_time` reads it, '' where it is none."""
    moment = parse_time(value)
    return moment.date().isoformat() if moment else ""
