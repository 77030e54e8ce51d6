"""HTTP's dates and validators: what a conditional request sends, and when a server wants to be asked again."""

import time
from email.utils import mktime_tz, parsedate_tz

from ingest.fetch import Response
from ingest.frontier import Task

FRESH_SECONDS = 2.0  # a Last-Modified this close to the fetch may hide a later change (RFC 9110, 8.8.2.2)


def conditions(task: Task) -> dict[str, str]:
    """Return the headers that ask for a URL only if it has changed."""
    headers = {}
    if task.etag:
        headers["If-None-Match"] = task.etag
    if task.last_modified:
        headers["If-Modified-Since"] = task.last_modified
    return headers


def validator(response: Response, now: float) -> str | None:
    """Return Last-Modified where it is old enough to tell a later version from this one."""
    value = response.get("last-modified")
    date = _date(value)
    return value if date is not None and now - date > FRESH_SECONDS else None


def retry_after(response: Response) -> float:
    """Return Retry-After in seconds, 0 where it is absent or no number or date."""
    value = response.get("retry-after").strip()
    if value.isdecimal():
        return float(value)
    date = _date(value)
    return max(date - time.time(), 0.0) if date is not None else 0.0


def _date(value: str) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None where it is none."""
    parsed = parsedate_tz(value) if value else None
    try:
        return float(mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError):  # a year that no calendar has
        return None
