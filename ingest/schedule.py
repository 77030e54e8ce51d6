"""When a URL is asked again: sooner after a change, later while it stays as it was, seldom and then never once gone.

A URL's `level` counts how often its wait was raised; the wait is recrawl_after · GROWTH^level, at most recrawl_max. An
unchanged page goes one level up, a changed one two levels down (a multiplicative schedule as in Apache Nutch's
AdaptiveFetchSchedule); so changed settings take effect at once, and `level = ? AND fetched_at <= ?` finds what is due.
"""

from ingest.settings import NetworkSettings

GROWTH = 1.5
MAX_LEVEL = 24  # GROWTH^24 is 17,000: from minutes to months
FALL = 2
GONE_RISE = 3

_NEWER = "coalesce(fetched_at, 0) < :fetched_at"  # a segment that is applied twice counts once

SETTLE_OK = f"""
UPDATE urls SET state = 'done', outcome = :outcome, detail = :detail, target = NULL, etag = :etag,
    last_modified = :last_modified, gone = 0,
    level = CASE WHEN NOT {_NEWER} THEN level
        WHEN payload_sha256 IS NULL THEN 0
        WHEN :payload_sha256 IS NULL OR :payload_sha256 = payload_sha256 THEN min(level + 1, {MAX_LEVEL})
        ELSE max(level - {FALL}, 0) END,
    payload_sha256 = coalesce(:payload_sha256, payload_sha256), rights = coalesce(:rights, rights),
    fetched_at = :fetched_at
WHERE url = :url AND coalesce(fetched_at, 0) <= :fetched_at
"""  # noqa: S608 — of constants alone

# What is known of the payload stays, in case the page comes back as it was.
SETTLE_FAILED = f"""
UPDATE urls SET state = 'done', outcome = :outcome, detail = :detail, gone = 0, etag = coalesce(:etag, etag),
    level = CASE WHEN {_NEWER} AND outcome = :outcome THEN min(level + 1, {MAX_LEVEL}) ELSE level END,
    fetched_at = :fetched_at
WHERE url = :url
"""  # noqa: S608
SETTLE_GONE = f"""
UPDATE urls SET outcome = :outcome, detail = :detail,
    state = CASE WHEN gone + ({_NEWER}) >= :drop_after THEN 'dead' ELSE 'done' END,
    level = CASE WHEN {_NEWER} THEN min(level + {GONE_RISE}, {MAX_LEVEL}) ELSE level END,
    gone = gone + ({_NEWER}), fetched_at = :fetched_at
WHERE url = :url
"""  # noqa: S608

QUEUE_DUE = """
UPDATE urls SET state = 'queued', hops = 0, target = NULL WHERE state = 'done' AND level = ? AND fetched_at <= ?
    AND host != '' AND source IN (SELECT source FROM active)
"""
QUEUE_CHANGED = """
UPDATE urls SET state = 'queued', hops = 0, target = NULL WHERE url = ? AND state IN ('done', 'dead')
    AND fetched_at < ? AND (source = ? OR host = ?) RETURNING host
"""


def wait_of(level: int, network: NetworkSettings) -> float:
    """Return for how many seconds a URL of this level counts as fresh."""
    longest = max(network.recrawl_max, network.recrawl_after)
    return float(min(network.recrawl_after * GROWTH**level, longest))


def due_before(now: float, level: int, network: NetworkSettings) -> float:
    """Return the time of the last visit from which back a URL of this level is due."""
    return now - wait_of(level, network)
