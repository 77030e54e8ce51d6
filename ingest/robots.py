"""robots.txt by RFC 9309: which rule decides for our product token, and how long to wait between requests.

Neither protego nor robotspy says which line decided, both differ from the RFC on undisputed cases (see docs/decisions),
and that line goes into every `pages` row, so the matcher is ours; tests hold it against both libraries.
"""

import codecs
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from urllib.parse import quote

from ingest.urls import canonical, path_and_query

MAX_BYTES = 512_000  # RFC 9309, 2.5: at least 500 KiB must be parsed
UNRESERVED = re.compile(r"%(2[DE]|3\d|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])")
HEAD = 4  # characters by which the rules of a long file are looked up
KEPT = "%/?:@!$&'()*+,;=[]|\\^~#"
AGENT_NAMES = {"user-agent", "useragent", "user agent"}
DISALLOW_NAMES = {"disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"}


@dataclass(frozen=True)
class Rule:
    """One allow or disallow line."""

    allow: bool
    pattern: str  # normalised; `*` matches anything, a final `$` the end
    text: str  # as the site wrote it, for people

    @cached_property
    def _pieces(self) -> tuple[bool, str, list[str]]:
        first, *rest = self.pattern.removesuffix("$").split("*")
        return self.pattern.endswith("$"), first, rest

    @property
    def head(self) -> str:
        """What every path that the rule covers begins with."""
        return self._pieces[1]

    def matches(self, path: str) -> bool:
        """Say whether a normalised path and query is covered, in time linear in its length per star."""
        anchored, first, rest = self._pieces
        if not path.startswith(first):
            return False
        if not rest:
            return not anchored or path == first
        position = len(first)
        for piece in rest[:-1]:  # the leftmost fit of each piece leaves the most room for those after it
            found = path.find(piece, position)
            if found < 0:
                return False
            position = found + len(piece)
        last = rest[-1]
        if anchored:
            return path.endswith(last) and len(path) - len(last) >= position
        return path.find(last, position) >= 0


@dataclass(frozen=True)
class Decision:
    """Whether a URL may be fetched, and the line that says so."""

    allowed: bool
    rule: str


@dataclass
class Robots:
    """The rules of one origin that concern one product token."""

    rules: list[Rule] = field(default_factory=list)
    crawl_delay: float = 0.0
    sitemaps: list[str] = field(default_factory=list)
    absent: str = ""  # why there is no file to obey, e.g. "robots.txt: 404"

    def decide(self, url: str) -> Decision:
        """Apply the longest matching rule; allow wins between equals and where none matches."""
        path = normalise(path_and_query(url))
        if self.absent or path == "/robots.txt":
            return Decision(True, self.absent or "robots.txt itself")
        candidates = (self._ranked.get(path[:HEAD], ()), self._ranked.get("", ()))
        found = [first for ranked in candidates if (first := next((r for r in ranked if r.matches(path)), None))]
        if not found:
            return Decision(True, "no rule matches")
        best = max(found, key=_rank)
        return Decision(best.allow, best.text)

    def sitemap_urls(self, url: str) -> list[str]:
        """Return the sitemaps that the file names, once each, as canonical URLs; relative ones as seen from `url`."""
        found = (canonical(sitemap, url) for sitemap in self.sitemaps)
        return list(dict.fromkeys(sitemap for sitemap in found if sitemap is not None))

    @cached_property
    def _ranked(self) -> dict[str, list[Rule]]:
        """Rules by the first HEAD characters of what they cover, '' where they fix fewer; the weightiest first."""
        ranked: dict[str, list[Rule]] = {}
        for rule in sorted(self.rules, key=_rank, reverse=True):
            ranked.setdefault(rule.head[:HEAD] if len(rule.head) >= HEAD else "", []).append(rule)
        return ranked


def _rank(rule: Rule) -> tuple[int, bool]:
    return len(rule.pattern), rule.allow


def parse_robots(content: bytes, token: str) -> Robots:
    """Read a robots.txt (UTF-8, any line ending) and keep what concerns `token`, else what concerns everyone."""
    text = _unmarked(content[:MAX_BYTES]).decode("utf-8", "replace")
    groups: dict[str, Robots] = {}
    sitemaps: list[str] = []
    agents: list[str] = []
    open_group = False  # still naming the agents of the group
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        name, value = _directive(line)
        if name in AGENT_NAMES:
            agents = [*agents, _agent(value)] if open_group else [_agent(value)]
            open_group = True
            groups.setdefault(agents[-1], Robots())
        elif name == "allow" or name in DISALLOW_NAMES:
            open_group = False
            if value:
                rule = Rule(name == "allow", normalise(value), f"{name.capitalize()}: {value} (line {number})")
                for agent in set(agents):
                    groups[agent].rules.append(rule)
        elif name == "crawl-delay" and re.fullmatch(r"\d+(\.\d+)?", value):
            for agent in set(agents):
                groups[agent].crawl_delay = float(value)
        elif name == "sitemap" and value:
            sitemaps.append(value)
    chosen = groups.get(token.lower()) or groups.get("*") or Robots()
    chosen.sitemaps = sitemaps
    return chosen


@lru_cache(maxsize=4096)
def normalise(path: str) -> str:
    """Percent-encode what RFC 3986 reserves nothing for, decode unreserved octets, and write escapes in upper case."""
    quoted = quote(path, safe=KEPT)
    upper = re.sub(r"%[0-9A-Fa-f]{2}", lambda match: match[0].upper(), quoted)
    return UNRESERVED.sub(lambda match: chr(int(match[1], 16)), upper)


def _unmarked(content: bytes) -> bytes:
    """Drop a byte order mark, or what an editor left of one, as Google's parser does."""
    for kept in range(len(codecs.BOM_UTF8), 0, -1):
        if content.startswith(codecs.BOM_UTF8[:kept]):
            return content[kept:]
    return content


def _directive(line: str) -> tuple[str, str]:
    """Split one line into its lower-case name and its value; a missing colon is forgiven between two words."""
    line = line.partition("#")[0].strip(" \t\x00\f\v")
    if ":" in line:
        name, _, value = line.partition(":")
        return name.strip().lower(), value.strip()
    words = line.split()
    return (words[0].lower(), words[1]) if len(words) == 2 else ("", "")


def _agent(value: str) -> str:
    """Return the product token of a user-agent line: all up to the first character that no token may hold."""
    if value == "*" or re.match(r"\*\s", value):
        return "*"
    match = re.match(r"[A-Za-z_-]*", value)
    return match[0].lower() if match else ""
