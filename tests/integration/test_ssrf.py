"""No way leads the crawler to an address that it may not ask: real listening sockets count every connection."""

import asyncio
import gzip
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest
from website import Answer, Crawler, Site, serve

from catalog.schema import Reason
from ingest.addresses import Guard
from ingest.fetch import Failure, Fetcher, Outcome
from ingest.settings import NetworkSettings
from ingest.urls import canonical, host_of

BLOCKED = Reason.BLOCKED_ADDRESS
REFUSED = (Reason.BLOCKED_ADDRESS, Reason.UNREACHABLE, Reason.BAD_URL)


class Canary:
    """Listens on every loopback address of one port and counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._stack = ExitStack()
        first = self._stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        self.port: int = first.getsockname()[1]
        sockets = [first]
        if socket.has_dualstack_ipv6():
            sockets.append(self._stack.enter_context(socket.create_server(("::", self.port), family=socket.AF_INET6)))
        for listening in sockets:
            Thread(target=self._count, args=(listening,), daemon=True).start()

    def _count(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: text/plain\r\n\r\nsecret")
            connection.close()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    canary = Canary()
    with socket.create_connection(("127.0.0.3", canary.port)) as known:  # it does count
        known.recv(10)
    assert canary.connections == 1
    canary.connections = 0
    yield canary
    assert canary.connections == 0
    canary.close()


def fetch(url: str, **settings: object) -> Outcome | None:
    """Fetch one URL as the crawler does; None where it is no URL at all."""
    address = canonical(url)
    if address is None:
        return None

    async def get() -> Outcome:
        network = NetworkSettings.model_validate({"timeout": 5, **settings})
        async with Fetcher(network) as fetcher:
            return await fetcher.get(address, lambda response: True)

    return asyncio.run(get())


# Ways to write an address of this machine, or one behind a router, that URL parsers read differently.
HOSTS = [
    # plain, and the special ranges of IPv4
    "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "localhost", "LOCALHOST",
    "localhost.", "127.0.0.1.", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    # decimal, octal, hexadecimal, mixed, overflowing
    "2130706433", "0x7f000001", "0x7f.1", "0x7F.0.0.1", "017700000001", "0177.0.0.1", "0177.0.1", "0177.1",
    "0x7f.0x0.0x0.0x1", "0x7f.0.0x1", "127.0x1", "00000177.0.0.1", "0x000000007f.1", "127.0.0.01", "127.0.0.0x1",
    "167772161", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "4294967295", "127.0.0.257", "999.1.1.1",
    # other digits and dots of Unicode, escapes, soft hyphens and zero widths
    "①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "𝟙𝟚𝟟.0.0.1", "127.0.0.①",
    "%31%32%37.0.0.1", "127%2E0%2E0%2E1", "127.0.0%E3%80%821", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "local\u00adhost", "127.0.\u200b0.1",
    "ｌｏｃａｌｈｏｓｔ",
    # IPv6: loopback, mapped, compatible, NAT64, 6to4, Teredo, local, site-local, unique local, multicast, documentation
    "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::]", "[2001:0:53aa:64c:0:0:80ff:fffe]", "[fe80::1]",
    "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[100::1]",
    "[2001:2::1]", "[2001:10::1]", "[::ffff:169.254.169.254]", "[fe80::1%25lo]", "[::1%25lo]",
]  # fmt: skip
# Ways to hide the host in the rest of a URL; {} is host and port.
SHAPES = [
    "http://good.example@{}/", "http://good.example:80@{}/", "http://user:secret@{}/", "http://good.example%40@{}/",
    "http:\\\\{}/", "http:/\\{}/", "http:{}/", "http:///{}/", "http:////{}/", "  http://{}/ ", "ht\ntp://{}/",
    "http://{}\\@good.example/", "http://{}#@good.example/", "http://{}?@good.example/", "HtTp://{}/",
    "http://good.example\\@{}/", "http://\t{}/", "https://{}/", "http://{}/..;/", "http://{}/%2e%2e/",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_an_address_in_any_spelling_is_not_connected_to(host: str, canary: Canary) -> None:
    outcome = fetch(f"http://{host}:{canary.port}/")
    assert outcome is None or (isinstance(outcome, Failure) and outcome.reason in REFUSED), outcome
    assert canary.connections == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_an_address_hidden_in_a_url_is_not_connected_to(
    shape: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers({}))  # no name exists
    outcome = fetch(shape.format(f"127.0.0.1:{canary.port}"))
    assert outcome is None or (isinstance(outcome, Failure) and outcome.reason in REFUSED), outcome
    assert canary.connections == 0


def answers(names: dict[str, list[list[str]]]) -> object:
    """Return a getaddrinfo that gives the answers of each name in turn, the last of them for ever."""
    turns = {name: itertools.chain(given, itertools.repeat(given[-1])) for name, given in names.items()}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host.rstrip(".") not in turns:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = next(turns[host.rstrip(".")])
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    return getaddrinfo


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"], ["::1"], ["10.0.0.1"], ["169.254.169.254"], ["fd00::1"], ["fe80::1"], ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["0.0.0.0"],
        ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["2606:4700::1111", "::1"],
        ["93.184.216.34", "1.1.1.1", "8.8.8.8", "192.168.1.1"],
    ],
)  # fmt: skip
def test_a_name_with_one_forbidden_answer_is_not_connected_to(
    found: list[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers({"rebind.example": [found]}))
    outcome = fetch(f"http://rebind.example:{canary.port}/")
    assert isinstance(outcome, Failure)
    assert outcome.reason == BLOCKED
    assert "rebind.example is at" in outcome.detail
    assert canary.connections == 0


def test_answers_that_change_between_two_requests_are_judged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 stands for a public address here, 127.0.0.2 for one that is not."""
    with serve() as site, socket.create_server(("127.0.0.2", site.port)) as forbidden:
        site.routes["/"] = Answer(b"<p>open</p>", headers={"Content-Type": "text/html", "Connection": "close"})
        forbidden.setblocking(False)
        changing = {"rebind.example": [["127.0.0.1"], ["127.0.0.2"]]}
        monkeypatch.setattr(socket, "getaddrinfo", answers(changing))
        url = f"http://rebind.example:{site.port}/"

        async def twice() -> list[Outcome]:
            async with Fetcher(NetworkSettings(allow_private_hosts=("127.0.0.1",))) as fetcher:
                return [await fetcher.get(url, lambda response: True) for _ in range(3)]

        first, second, third = asyncio.run(twice())
        assert not isinstance(first, Failure)
        assert isinstance(second, Failure)
        assert isinstance(third, Failure)
        assert second.reason == third.reason == BLOCKED
        with pytest.raises(BlockingIOError):
            forbidden.accept()


def test_what_an_allowed_name_opens_is_open_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as site:
        site.page("/", "for friends")
        both = {"friend.example": [["127.0.0.1"]], "rebind.example": [["127.0.0.1"]]}
        monkeypatch.setattr(socket, "getaddrinfo", answers(both))

        async def get_all() -> list[Outcome]:
            async with Fetcher(NetworkSettings(allow_private_hosts=("friend.example",))) as fetcher:
                hosts = ("friend.example", "rebind.example", "127.0.0.1", "friend.example")
                urls = [f"http://{host}:{site.port}/" for host in hosts]
                return [await fetcher.get(url, lambda response: True) for url in urls]

        friend, stranger, literal, again = asyncio.run(get_all())
        assert not isinstance(friend, Failure)
        assert not isinstance(again, Failure)
        assert isinstance(stranger, Failure)
        assert isinstance(literal, Failure)
        assert stranger.reason == literal.reason == BLOCKED
        assert site.asked("/") == 2


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


def redirect(target: str) -> Answer:
    return Answer(status=302, headers={"Location": target})


def test_no_page_robots_list_or_picture_leads_a_crawl_to_a_forbidden_address(
    site: Site, tmp_path: Path, canary: Canary, record_property: Callable[[str, object], None]
) -> None:
    inside = f"http://127.0.0.1:{canary.port}"
    named = f"http://localhost:{canary.port}"
    kinds = {"Content-Type": "application/xml"}
    sitemap = f"<urlset><url><loc>{inside}/from-sitemap</loc></url></urlset>".encode()
    feed = f"""<rss version="2.0"><channel><title>t</title><item><title>i</title><link>{inside}/from-feed</link>
    <enclosure url="{named}/from-feed.mp3" type="audio/mpeg" length="1"/></item></channel></rss>""".encode()
    images = (f"{inside}/a.png", f"http://[::1]:{canary.port}/b.png", f"http://0x7f.1:{canary.port}/c.png", "/hop.png")
    site.page("/", "home", ("/to-page", "/hop1", f"{inside}/linked", f"{named}/linked"), images)
    site.routes |= {
        "/to-page": redirect(f"{inside}/page"), "/hop1": redirect("/hop2"), "/hop2": redirect(f"{named}/page"),
        "/hop.png": redirect(f"//127.0.0.1:{canary.port}/d.png"), "/feed.xml": Answer(feed, headers=kinds),
        "/index.xml": Answer(
            f"<sitemapindex><sitemap><loc>{inside}/map.xml</loc></sitemap><sitemap><loc>/map.xml.gz</loc></sitemap>"
            "</sitemapindex>".encode(),
            headers=kinds,
        ),
        "/map.xml.gz": Answer(gzip.compress(sitemap), headers=kinds),
    }  # fmt: skip
    with serve() as elsewhere:  # another origin, whose robots.txt and tdmrep.json point inside
        elsewhere.routes |= {
            "/robots.txt": redirect(f"{inside}/robots.txt"), "/": Answer(b"<p>never read"),
            "/.well-known/tdmrep.json": redirect(f"{inside}/tdmrep.json"),
        }  # fmt: skip
        network = {
            "allow_private_hosts": [f"127.0.0.1:{site.port}", f"127.0.0.1:{elsewhere.port}"], "retries": 0,
            "ask_tdmrep": True,
        }  # fmt: skip
        site.routes["/.well-known/tdmrep.json"] = redirect(f"{inside}/tdmrep.json")
        crawler = Crawler(tmp_path / "home", network)
        lists = [{"url": f"{site.url}/index.xml", "kind": "sitemap"}, {"url": f"{site.url}/feed.xml", "kind": "feed"}]
        crawler.run(site.url, *lists, elsewhere.url, f"{inside}/seed", f"{named}/seed")
        assert elsewhere.asked("/") == 0
    record_property("spellings", len(HOSTS) + len(SHAPES))
    record_property("ordinary_hosts", len(STEMS) * len(SUFFIXES))
    record_property("canary_hits", canary.connections)
    assert canary.connections == 0
    rejects = {url: reason for url, (reason, _) in crawler.rejects().items()}
    blocked = {host_of(url) for url, reason in rejects.items() if reason == BLOCKED}  # a host is asked once
    assert blocked >= {f"{host}:{canary.port}" for host in ("127.0.0.1", "localhost", "[::1]")}
    assert rejects[f"{elsewhere.url}/"] in REFUSED
    kept = {url.removeprefix(site.url) for url in crawler.pages()}
    assert kept == {"/"}


STEMS = re.findall(
    r"\S+",
    """ada api-7 bbc blog.cdn-3 books café data.gov dev-01.eu 1e100 163 4chan 0x 127 10-0-0-1.static 9gag müller
    en.wikipedia europe.eu.int fonts.gstatic github heise img.a-b.c-d internal-affairs intranet-news kaggle
    localhost-news loopback.fm mail.google medium my_blog n-tv news.ycombinator nytimes o2 openai private-eye pypi q.t
    r2d2.cloud router-db s3.amazonaws scrapy sub.sub.sub.deep t-online twitch u.s 中文 日本語.test ελλάδα www
    www2.gateway x y-combinator""",
)
SUFFIXES = (".com", ".co.uk", ".xn--p1ai", ".museum.")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_ordinary_host_is_blocked(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host resolves to public addresses; opening the socket is where the test stops the attempt."""
    public = ["93.184.216.34", "151.101.1.69", "2606:4700::1111", "2a00:1450:4001::200e"]
    tried: set[str] = set()

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        address = public[len(host) % len(public)]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    def open_socket(guard: Guard, info: tuple[object, object, object, object, tuple[str, int]]) -> socket.socket:
        assert guard.permits(info[4][0], info[4][1])
        tried.add(info[4][0])
        raise OSError("the test connects to nothing")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(Guard, "open_socket", open_socket)

    async def get_all() -> list[Outcome]:
        urls = [canonical(f"http://{stem}{suffix}/") for stem in STEMS]
        async with Fetcher(NetworkSettings()) as fetcher:
            return [await fetcher.get(url or "", lambda response: True) for url in urls]

    assert len(STEMS) * len(SUFFIXES) >= 200
    outcomes = asyncio.run(get_all())
    wrong = [
        (stem, outcome)
        for stem, outcome in zip(STEMS, outcomes, strict=True)
        if not isinstance(outcome, Failure) or outcome.reason != Reason.UNREACHABLE or "test" not in outcome.detail
    ]
    assert not wrong
    assert tried == set(public)
