"""Spider traps: URLs of families without end, told from the URL alone or from how many of them are known."""

import re
from collections import Counter
from datetime import date

import ada_url

from ingest.settings import TrapSettings

CALENDAR = re.compile(r"calend[ae]r|kalender|agenda|events?\b|schedule|[?&](?:month|week|day|date)=", re.IGNORECASE)
DATE = re.compile(r"(?<!\d)((?:1\d|2[01])\d\d)(?:/(0?[1-9]|1[0-2])|[-_.](0[1-9]|1[0-2]))(?!\d)")
PARAMETER = re.compile(r"[?&](year|month)=(\d{1,4})(?!\d)", re.IGNORECASE)
CALENDAR_MONTHS = 13  # how far from today a page of a calendar may lie
FUTURE_MONTHS = 25  # how far ahead the date in any URL may lie


def trap_reason(url: str, limits: TrapSettings, today: date) -> str | None:
    """Say why a URL looks like one of an endless family, or None."""
    if len(url) > limits.max_url_length:
        return f"{len(url)} characters, more than {limits.max_url_length}"
    parsed = ada_url.URL(url)
    return (
        _path_trap([segment for segment in str(parsed.pathname).split("/") if segment], limits)
        or _query_trap(str(parsed.search), limits)
        or _calendar_trap(f"{parsed.pathname}{parsed.search}", today)
    )


def _path_trap(segments: list[str], limits: TrapSettings) -> str | None:
    if len(segments) > limits.max_segments:
        return f"{len(segments)} path segments, more than {limits.max_segments}"
    if segments:
        segment, times = Counter(segments).most_common(1)[0]
        if times > limits.max_repeats:
            return f"path segment '{segment}' occurs {times} times"
    return None


def _query_trap(search: str, limits: TrapSettings) -> str | None:
    if not search:
        return None
    names = Counter(_names(search))
    if names.total() > limits.max_parameters:
        return f"{names.total()} query parameters, more than {limits.max_parameters}"
    name, times = names.most_common(1)[0]
    return f"query parameter '{name}' occurs {times} times" if times > limits.max_repeats else None


def _names(search: str) -> list[str]:
    return [pair.partition("=")[0] for pair in search.removeprefix("?").split("&")]


def _calendar_trap(path: str, today: date) -> str | None:
    found = [(int(year), int(one or other)) for year, one, other in DATE.findall(path)]
    asked = {name.lower(): int(value) for name, value in PARAMETER.findall(path)}
    if "year" in asked:
        found.append((asked["year"], asked.get("month", today.month)))
    calendar = CALENDAR.search(path) is not None
    for year, month in found:
        ahead = (year - today.year) * 12 + month - today.month
        if ahead > FUTURE_MONTHS or (calendar and abs(ahead) > CALENDAR_MONTHS):
            return f"a calendar: {year}-{month:02d} lies {abs(ahead)} months {'ahead' if ahead > 0 else 'back'}"
    return None


def family_of(url: str) -> str | None:
    """Return path and parameter names of a URL with two parameters or more: the family whose values can be combined."""
    parsed = ada_url.URL(url)
    search = str(parsed.search)
    names = sorted(set(_names(search))) if search else []
    return f"{parsed.host}{parsed.pathname}?{'&'.join(names)}" if len(names) > 1 else None
