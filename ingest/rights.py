"""What a resource, its page and its site say about its use: read once, stored as they stand, judged by the settings.

X-Robots-Tag and robots <meta> (of everyone and of each agent), TDM reservation (W3C TDMRep: header, <meta> and
/.well-known/tdmrep.json) and licences. The column `rights` holds them as a JSON list, so that another decision needs no
other fetch.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ingest.hints import encodable
from ingest.robots import Rule, normalise
from ingest.urls import canonical, path_and_query

EVERYONE = "*"
MAX_SIGNALS = 64  # of one resource: a hostile header shall not fill the tables
MAX_TEXT = 200
MAX_URL = 2000
MAX_BYTES = 12 << 10  # of all signals as JSON in ASCII: they travel in a record's header
VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")  # their colon names no agent
DIRECTIVES = {
    "all", "index", "follow", "noindex", "nofollow", "none", "noarchive", "nocache", "nosnippet", "noimageindex",
    "notranslate", "indexifembedded", "noai", "noimageai", "noml", *VALUED,
}  # fmt: skip
RESERVATION = "tdm-reservation"
ABOUT_IMAGES = ("noai", "noimageai", "noimageindex")  # of a page, which speak of what it shows as well
TDM_SOURCES = ("tdm-meta", "tdm-header", "tdmrep.json")  # the nearest to the content wins
CREATIVE_COMMONS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(licenses|publicdomain)/([a-z+-]+)(?:/(\d\.\d))?", re.IGNORECASE
)
LINK_HEADER = re.compile(r"<([^>]*)>([^<]*)")


@dataclass(frozen=True)
class Signal:
    """One thing that was said: by which means, of what, to which agent, and where more is written."""

    by: str  # x-robots-tag, meta, tdm-header, tdm-meta, tdmrep.json, page, link-header, link, json-ld
    says: str  # a directive in lower case, tdm-reservation=0|1, or licence
    to: str = EVERYONE
    url: str = ""  # of the licence, the policy, or the page that shows the picture
    spdx: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return what is not a default."""
        found = {"by": self.by, "says": self.says, "url": self.url, "spdx": self.spdx}
        return {name: value for name, value in found.items() if value} | ({"to": self.to} if self.to != "*" else {})


FIELDS = tuple(Signal.__dataclass_fields__)


def write(signals: Iterable[Signal]) -> str:
    """Return signals as the column holds them; '' where there are none."""
    unique = list(dict.fromkeys(signals))[:MAX_SIGNALS]
    kept, left = [], MAX_BYTES
    for signal in unique:
        url = signal.url if len(signal.url) <= MAX_URL else ""  # a part of an address is none
        cut = replace(signal, says=signal.says[:MAX_TEXT], to=signal.to[:MAX_TEXT], url=url).as_dict()
        if (left := left - len(json.dumps(cut))) < 0:
            break
        kept.append(cut)
    return encodable(json.dumps(kept, ensure_ascii=False, separators=(",", ":"))) if kept else ""


def read(rights: str | None) -> list[Signal]:
    """Read the column back; what versions before JSON wrote ('noai, tdm-reservation=1') counts as said to everyone."""
    if not rights:
        return []
    if rights.startswith("["):
        return [Signal(**{name: str(given[name]) for name in FIELDS if name in given}) for given in json.loads(rights)]
    return [Signal("", says) for part in rights.split(",") if (says := part.strip())]


def robots_tags(values: Iterable[str]) -> list[Signal]:
    """Read X-Robots-Tag header fields; an agent's name at the start speaks for the rest of its field."""
    found = []
    for value in values:
        agent = EVERYONE
        for part in re.split(r"[,;]", value):
            name, colon, rest = part.strip().partition(":")
            if colon and name.strip().lower() not in VALUED:
                agent, part = name.strip().lower() or EVERYONE, rest
            if says := " ".join(part.split()).lower():
                found.append(Signal("x-robots-tag", says, agent))
    return found


def meta_robots(name: str, content: str) -> list[Signal]:
    """Read one <meta name content>: robots, or any agent's name where the content is made of known directives."""
    agent = name.strip().lower()
    parts = [" ".join(part.split()).lower() for part in re.split(r"[,;]", content) if part.strip()]
    if agent != "robots" and not all(part.partition(":")[0].strip() in DIRECTIVES for part in parts):
        return []
    return [Signal("meta", part, EVERYONE if agent == "robots" else agent) for part in parts]


def tdm(by: str, reservation: str, policy: str, base: str) -> list[Signal]:
    """Read a TDM reservation and its policy; [] where it is neither 0 nor 1."""
    value = reservation.strip()
    if value not in ("0", "1"):
        return []
    return [Signal(by, f"{RESERVATION}={value}", url=(canonical(policy, base) or "") if policy.strip() else "")]


def licence(by: str, url: str | None, base: str) -> list[Signal]:
    """Return the signal of a licence's URL, with its SPDX name where it is one of Creative Commons."""
    target = canonical(url, base) if url else None
    if target is None:
        return []
    match = CREATIVE_COMMONS.match(target)
    if not match:
        return [Signal(by, "licence", url=target)]
    kind, name, number = match[1].lower(), match[2].lower(), match[3] or ""
    known = {"zero": "CC0", "mark": "CC-PDM"} if kind == "publicdomain" else {name: f"CC-{name.upper()}"}
    plain = f"https://creativecommons.org/{kind}/{name}/" + (f"{number}/" if number else "")
    return [Signal(by, "licence", url=plain, spdx="-".join(filter(None, (known.get(name, ""), number))))]


def header_signals(headers: Sequence[tuple[str, str]], url: str) -> list[Signal]:
    """Read what response headers say."""

    def values(name: str) -> list[str]:
        return [value for key, value in headers if key.lower() == name]

    found = robots_tags(values("x-robots-tag"))
    found += tdm("tdm-header", "".join(values("tdm-reservation")[:1]), "".join(values("tdm-policy")[:1]), url)
    for target, parameters in LINK_HEADER.findall(", ".join(values("link"))):
        if re.search(r"rel\s*=\s*\"?[^\";]*\blicense\b", parameters, re.IGNORECASE):
            found += licence("link-header", target, url)
    return found


def json_ld_licences(text: str, base: str) -> list[Signal]:
    """Read the licences that JSON-LD gives for the page; those of its pictures and recordings are not the page's."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found: list[Signal] = []
    waiting = [data]
    while waiting and len(found) < MAX_SIGNALS:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict) and "Object" not in str(node.get("@type")):
            waiting += [node[name] for name in ("@graph", "mainEntity", "mainEntityOfPage") if name in node]
            for given in node["license"] if isinstance(node.get("license"), list) else [node.get("license")]:
                named = given.get("@id") or given.get("url") if isinstance(given, dict) else given
                found += licence("json-ld", named, base) if isinstance(named, str) else []
    return found


def site_rules(content: bytes, base: str) -> list[tuple[Rule, Signal]]:
    """Read /.well-known/tdmrep.json: which locations are reserved; [] where it is no such file."""
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError):
        return []
    rules: list[tuple[Rule, Signal]] = []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("location"), str):
            said = tdm("tdmrep.json", str(entry.get(RESERVATION)), str(entry.get("tdm-policy") or ""), base)
            rules += [(Rule(True, normalise(entry["location"]), entry["location"]), signal) for signal in said]
    return rules


def site_signals(rules: Sequence[tuple[Rule, Signal]], url: str) -> list[Signal]:
    """Return what tdmrep.json says of one URL: its longest location that matches, as in robots.txt."""
    path = normalise(path_and_query(url))
    matching = [(len(rule.pattern), signal) for rule, signal in rules if rule.matches(path)]
    return [max(matching, key=lambda found: found[0])[1]] if matching else []


def about_images(signals: Iterable[Signal], page: str) -> list[Signal]:
    """Return what a page's own words mean for the pictures and recordings that it shows."""
    said = (signal for signal in signals if signal.by in ("meta", "x-robots-tag") and signal.says in ABOUT_IMAGES)
    return [Signal("page", signal.says, signal.to, url=page) for signal in said]


def directives(signals: Iterable[Signal], agent: str) -> set[str]:
    """Return the directives that are meant for everyone or for `agent`."""
    return {signal.says for signal in signals if signal.to in (EVERYONE, agent.lower())}


def best_licence(signals: Iterable[Signal]) -> str:
    """Return the URL of the first licence, '' where there is none."""
    return next((signal.url for signal in signals if signal.says == "licence"), "")


def opt_out(rights: str | None, kind: str, opt_outs: Iterable[str], agent: str) -> Signal | None:
    """Return the signal that keeps a resource out of training data, None where there is none.

    `opt_outs` are directives; noimageai speaks of pictures alone, and of tdm-reservation the nearest source counts.
    """
    wanted = set(opt_outs)
    signals = [signal for signal in read(rights) if signal.to in (EVERYONE, agent.lower())]
    for signal in signals:
        if signal.says in wanted and (kind == "image" or signal.says not in ("noimageai", "noimageindex")):
            return signal
    if RESERVATION not in wanted:
        return None
    said = [signal for signal in signals if signal.says.startswith(f"{RESERVATION}=")]
    said.sort(key=lambda signal: TDM_SOURCES.index(signal.by) if signal.by in TDM_SOURCES else 0)
    return said[0] if said and said[0].says == f"{RESERVATION}=1" else None


def describe(signal: Signal) -> str:
    """Say in words who said what: 'noai (x-robots-tag)'."""
    to = f"to {signal.to}" if signal.to != EVERYONE else ""
    where = " ".join(filter(None, (signal.by, to, signal.url)))
    return f"{signal.says} ({where})" if where else signal.says
