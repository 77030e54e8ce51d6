"""Human review: a seeded sample of the current documents, the verdicts on it, and an interval that can hold a release.

Of the sample recorded last, the share that passes is bounded below by the Wilson score interval (E. B. Wilson, JASA 22,
1927). A document that nobody judged counts as failed, so a sample cannot pass by leaving the hard ones out.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pyarrow as pa

from catalog import sql
from catalog.errors import InputError, ReleaseBlocked
from catalog.home import Home, View
from catalog.ids import make_id
from catalog.ledger import now
from catalog.schema import body
from catalog.settings import ReviewSettings
from catalog.stage import Stage, StageReport

VERDICTS = ("pass", "fail", "open")
SHOWN = "document_id, url, source_class, language, title, text, rule_hits"


def _never(*_: object) -> StageReport:
    raise AssertionError("reviews come from people; no run makes them")


REVIEW = Stage(name="review", reads=(), tables=("reviews",), result_version=1, settings=lambda _: {}, run=_never)


def sample(home: Home, size: int, seed: int) -> dict[str, Any]:
    """Draw documents in proportion to source class and language; the same seed and documents give the same sample."""
    view = home.view()
    with sql.connect(view, {"current_documents"}) as db, sql.reading("documents"):
        known = db.sql("SELECT DISTINCT document_id, source_class, language FROM current_documents").to_arrow_table()
        strata: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in known.to_pylist():
            strata[row["source_class"] or "other", row["language"] or "unknown"].append(row["document_id"])
        chosen = draw(strata, size, seed)
        db.register("chosen", pa.table({"document_id": pa.array(chosen, pa.string())}))
        shown = f"SELECT {SHOWN} FROM current_documents SEMI JOIN chosen USING (document_id)"  # noqa: S608 — constants
        found = db.sql(shown).to_arrow_table()
    documents = {row["document_id"]: row for row in found.to_pylist()}
    name = make_id("sample", str(seed), *chosen)[:12]
    blank = {"sample": name, "seq": view.seq, "verdict": None, "labels": [], "comment": "", "who": ""}
    return {
        "sample": name,
        "seed": seed,
        "seq": view.seq,
        "population": known.num_rows,
        "strata": [
            {"source_class": kind, "language": language, "documents": len(ids), "drawn": len(set(chosen) & set(ids))}
            for (kind, language), ids in sorted(strata.items())
        ],
        "rows": [blank | documents[document] for document in chosen],
    }


def draw(strata: Mapping[tuple[str, str], Sequence[str]], size: int, seed: int) -> list[str]:
    """Choose `size` ids, from each stratum its share by largest remainder, those with the smallest seeded hash."""
    total = sum(map(len, strata.values()))
    size = min(size, total)
    shares = {name: size * len(ids) / total for name, ids in sorted(strata.items())}
    quotas = {name: math.floor(share) for name, share in shares.items()}
    rest = sorted(shares, key=lambda name: (quotas[name] - shares[name], name))
    for name in rest[: size - sum(quotas.values())]:
        quotas[name] += 1
    return [
        document
        for name, quota in quotas.items()
        for document in sorted(strata[name], key=lambda item: make_id("draw", str(seed), item))[:quota]
    ]


def record(home: Home, path: Path) -> dict[str, Any]:
    """Publish what a filled-in sample says anew as one batch; recording it again changes nothing."""
    rows = [_review(path, number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    if not rows:
        raise InputError(f"{path}: no rows; draw a sample with 'headrace review sample'")
    view = home.view()
    if (latest := max(json.loads(row["labels"])["seq"] for row in rows)) > view.seq:
        raise InputError(f"{path}: drawn at {latest}, and the ledger of {home.root} ends at {view.seq}; wrong home?")
    _check_documents(path, view, [(row["subject_id"], row["who"]) for row in rows])
    last = {(row["subject_id"], row["who"], row["sample"]): row for row in _reviews(view)}
    new = []
    for row in rows:
        before = last.get((row["subject_id"], row["who"], json.loads(row["labels"])["sample"]))
        said = [row["subject_id"], row["labels"], row["who"], row["verdict"], row["comment"]]
        if before is None or said != [before[name] for name in ("subject_id", "labels", "who", "verdict", "comment")]:
            # Whoever changes their mind back says something new: the review before is part of the id.
            new.append(row | {"review_id": make_id("review", *said, before["review_id"] if before else "")})
    publish(home, new)
    verdicts = Counter(row["verdict"] for row in rows)
    return {"file": str(path), "new": len(new), **{name: verdicts[name] for name in VERDICTS}}


def publish(home: Home, rows: Sequence[Mapping[str, Any]]) -> None:
    """Publish what people said as one batch of `reviews`; nothing where they said nothing new."""
    if rows:
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["review_id"])), schema=body("reviews"))
        key = make_id("reviews", *table["review_id"].to_pylist())
        home.publish_origin(REVIEW, key, len(rows), {"reviews": table}, {})


def _check_documents(path: Path, view: View, judged: Sequence[tuple[str, str]]) -> None:
    """Raise InputError for a document that somebody judges twice, or that is not live."""
    twice = [document for (document, _), times in Counter(judged).items() if times > 1]
    if twice:
        raise InputError(f"{path}: document {twice[0]} is judged twice by the same person; keep one line")
    documents = {document for document, _ in judged}
    found = view.lookup("documents", "document_id", documents, ["document_id"])
    if unknown := documents - set(found["document_id"].to_pylist()):
        raise InputError(f"{path}: document {min(unknown)} is not among the live documents; draw a new sample")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")  # a text may hold what else Python takes for a line's end
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _review(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{path}, line {number}"
    try:
        given = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    wanted = {"document_id": str, "sample": str, "seq": int}
    if not isinstance(given, dict) or not all(isinstance(given.get(name), kind) for name, kind in wanted.items()):
        raise InputError(f"{where}: needs the fields {', '.join(wanted)} as 'headrace review sample' wrote them")
    verdict = given.get("verdict") or "open"
    if verdict not in VERDICTS:
        raise InputError(f"{where}: verdict {verdict!r}; write pass or fail, or leave it null")
    labels = {"sample": given["sample"], "seq": given["seq"], "labels": given.get("labels") or []}
    said = json.dumps(labels, sort_keys=True, ensure_ascii=False)
    who, comment = str(given.get("who") or ""), str(given.get("comment") or "")
    return {
        "subject_id": given["document_id"], "verdict": verdict, "labels": said, "comment": comment, "who": who,
        "time": now(),
    }  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """One document of a sample and what its reviewers last said of it."""

    document_id: str
    verdicts: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Tell whether more reviewers pass than fail it; a tie fails."""
        return self.verdicts.count("pass") > self.verdicts.count("fail")


def status(home: Home, settings: ReviewSettings, name: str | None = None) -> dict[str, Any]:
    """Return how the sample recorded last (or the one named) fares, with the Wilson interval of its share of passes."""
    view = home.view()
    reviews = _reviews(view)
    if name is None:
        name = reviews[-1]["sample"] if reviews else None
    of_sample = [row for row in reviews if row["sample"] == name]
    if not of_sample:
        raise InputError("no review is recorded" + (f" of sample {name}" if name else "; see 'headrace review sample'"))
    current = _current_documents(view)
    drawn_from = _current_documents(home.view(max(row["seq"] for row in of_sample)))
    judged = [item for item in _judged(of_sample) if item.document_id in current]
    num_passed = sum(item.passes for item in judged)
    low, high = wilson(num_passed, len(judged), settings.confidence)
    coverage = len(current & drawn_from) / len(current) if current else 0.0
    return {
        "sample": name,
        "documents": len(judged),
        "gone": len({row["subject_id"] for row in of_sample}) - len(judged),
        "passed": num_passed,
        "open": sum(set(item.verdicts) == {"open"} for item in judged),
        "share": num_passed / len(judged) if judged else 0.0,
        "interval": [low, high],
        "confidence": settings.confidence,
        "coverage": coverage,
        "min_pass": settings.min_pass,
        "ok": low >= settings.min_pass and coverage >= settings.min_coverage,
        "failed": sorted(item.document_id for item in judged if "fail" in item.verdicts),
    }


def _current_documents(view: View) -> set[str]:
    with sql.connect(view, {"current_documents"}) as db, sql.reading("documents"):
        return {row[0] for row in db.sql("SELECT DISTINCT document_id FROM current_documents").fetchall()}


def _reviews(view: View) -> list[dict[str, Any]]:
    """Return the live reviews of samples in the order they were recorded, each with its sample and its seq."""
    rows = [row for row in view.read("reviews").to_pylist() if row["verdict"] in VERDICTS]
    rows = [row for row in rows if '"sample"' in (row["labels"] or "")]
    rows.sort(key=lambda row: (view.state.published[row["batch_id"]].seq, row["review_id"]))
    return [row | {name: json.loads(row["labels"])[name] for name in ("sample", "seq")} for row in rows]


def _judged(rows: Iterable[dict[str, Any]]) -> list[Judged]:
    last: dict[tuple[str, str], str] = {}
    for row in rows:
        last[row["subject_id"], row["who"]] = row["verdict"]
    by_document: dict[str, list[str]] = defaultdict(list)
    for (document, _), verdict in sorted(last.items()):
        by_document[document].append(verdict)
    return [Judged(document, tuple(verdicts)) for document, verdicts in by_document.items()]


def wilson(passed: int, total: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided Wilson score interval of a share; (0, 1) where nothing was seen."""
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (passed + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(passed * (total - passed) / total + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def needed(min_pass: float, confidence: float) -> int:
    """Return how large a sample without a failure must be for the interval to reach `min_pass`."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil(z * z * min_pass / (1 - min_pass) - 1e-9) if min_pass < 1 else 0


def require(home: Home, settings: ReviewSettings) -> None:
    """Raise ReleaseBlocked unless the review of the current documents reaches review.min_pass; 0 asks for no review."""
    if not settings.min_pass:
        return
    try:
        found = status(home, settings)
    except InputError as error:
        raise ReleaseBlocked(f"review.min_pass is {settings.min_pass:g} and {error}") from error
    if not found["ok"]:
        raise ReleaseBlocked(verdict(found, settings))


def verdict(found: Mapping[str, Any], settings: ReviewSettings) -> str:
    """Say in one line what the review says of a release, and what would be needed."""
    low, high = found["interval"]
    line = (
        f"sample {found['sample']}: {found['passed']} of {found['documents']} pass, {found['open']} open; between "
        f"{low:.1%} and {high:.1%} of all documents pass at {found['confidence']:.0%} confidence"
    )
    if low < settings.min_pass:
        line += f", review.min_pass asks for {settings.min_pass:.1%} at least"
        if found["passed"] == found["documents"]:
            line += f": judge {needed(settings.min_pass, settings.confidence)} documents or more"
    if found["coverage"] < settings.min_coverage:
        line += f"; it was drawn from {found['coverage']:.1%} of the current documents: draw a new one"
    return line
