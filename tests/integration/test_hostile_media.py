"""Files made to harm whoever decodes them: each is turned away with a reason, and costs nobody else anything."""

import os

import hostile_media

from catalog.schema import Reason

SECONDS = float(os.environ.get("HEADRACE_TEST_DECODE_SECONDS", "2"))  # the product's own limit is 30


def test_hostile_media_are_rejects_within_bounds() -> None:
    files = hostile_media.files()
    assert len(files) >= 40
    verdict = hostile_media.judge(files, SECONDS)
    assert not [name for name, reason in verdict.reasons.items() if reason is None]
    assert {word for reason in verdict.reasons.values() for word in (reason or "").split(" and ")} == {
        Reason.DECODE_ERROR, Reason.TIMEOUT, Reason.TOO_LONG, Reason.TOO_MANY_FRAMES, Reason.TOO_MANY_PIXELS,
        Reason.UNSUPPORTED_FORMAT,
    }  # fmt: skip
    assert verdict.reasons["30000 scans.jpg"] == Reason.TIMEOUT
    assert verdict.peak_mib <= 512
