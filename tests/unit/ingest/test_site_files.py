"""robots.txt and tdmrep.json of a site: what each answer means, and how long it is believed."""

import asyncio
import json
from collections.abc import Callable

import pytest

from catalog.schema import Reason
from ingest import site_files
from ingest.fetch import Failure, Outcome, Response
from ingest.site_files import SiteFiles

SITE = "http://mill.example"
DENY = b"User-agent: *\nDisallow: /closed\n"
DOWN = Failure(Reason.UNREACHABLE, "connection refused")


class Server:
    """Answers by URL and counts; absent is 404."""

    def __init__(self, answers: dict[str, tuple[int, bytes] | str | Failure]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, url: str) -> Outcome:
        self.asked.append(url)
        await asyncio.sleep(0)
        given = self.answers.get(url.removeprefix(SITE), (404, b""))
        if isinstance(given, Failure):
            return given
        if isinstance(given, str):
            return Response(url, 301, (("Location", given),), b"")
        return Response(url, given[0], (), given[1])

    def files(self) -> SiteFiles:
        return SiteFiles("headrace", self.ask, self.ask)


def decide(answers: dict[str, tuple[int, bytes] | str | Failure], path: str = "/closed") -> bool | Reason:
    """Return whether a path may be fetched, or why that cannot be known."""
    robots = asyncio.run(Server(answers).files().robots(SITE + path))
    return robots.reason if isinstance(robots, Failure) else robots.decide(SITE + path).allowed


def chain(hops: int) -> dict[str, tuple[int, bytes] | str | Failure]:
    """Redirect robots.txt so many times."""
    names = ["/robots.txt", *(f"/hop{number}" for number in range(1, hops))]
    return {**dict(zip(names, [*names[1:], "/end"], strict=True)), "/end": (200, DENY)}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"/robots.txt": (200, DENY)}, False),
        ({}, True),  # 404
        ({"/robots.txt": (403, DENY)}, True),
        ({"/robots.txt": (410, b"")}, True),
        ({"/robots.txt": (429, b"")}, Reason.ROBOTS_UNREACHABLE),
        ({"/robots.txt": (500, b"")}, Reason.ROBOTS_UNREACHABLE),
        ({"/robots.txt": (503, DENY)}, Reason.ROBOTS_UNREACHABLE),
        ({"/robots.txt": DOWN}, Reason.UNREACHABLE),
        (chain(1), False),
        (chain(5), False),  # RFC 9309, 2.3.1.2: at least five
        (chain(6), True),
        ({"/robots.txt": "ftp://mill.example/robots.txt"}, True),
        ({"/robots.txt": "/hop", "/hop": (500, b"")}, Reason.ROBOTS_UNREACHABLE),
        ({"/robots.txt": "/hop", "/hop": DOWN}, Reason.UNREACHABLE),
    ],
)
def test_what_each_answer_means(answers: dict[str, tuple[int, bytes] | str | Failure], expected: bool | Reason) -> None:
    assert decide(answers) == expected


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(site_files.time, "monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return pass_time


def test_an_origin_is_asked_once_a_day_however_many_ask(clock: Callable[[float], None]) -> None:
    server = Server({"/robots.txt": (200, DENY)})

    async def visit() -> None:
        files = server.files()
        await asyncio.gather(*(files.robots(f"{SITE}/{number}") for number in range(20)))
        assert len(server.asked) == 1
        clock(86_000)
        await files.robots(f"{SITE}/again")
        assert len(server.asked) == 1
        server.answers["/robots.txt"] = (200, b"")
        clock(1000)
        robots = await files.robots(f"{SITE}/closed")
        assert not isinstance(robots, Failure)
        assert robots.decide(f"{SITE}/closed").allowed
        await files.robots("https://mill.example/")  # another scheme is another origin
        assert len(server.asked) == 3

    asyncio.run(visit())


def test_a_bounded_number_of_origins_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_files, "MAX_ORIGINS", 2)
    server = Server({})

    async def visit() -> None:
        files = server.files()
        for host in ("a", "b", "b", "c", "c", "a"):
            await files.robots(f"http://{host}/x")

    asyncio.run(visit())
    assert server.asked == [f"http://{host}/robots.txt" for host in ("a", "b", "c", "a")]


@pytest.mark.parametrize(
    ("robots", "answer", "says"),
    [
        (
            (404, b""),
            (200, json.dumps([{"location": "/closed", "tdm-reservation": 1}]).encode()),
            ["tdm-reservation=1"],
        ),
        ((200, b"User-agent: *\nDisallow: /.well-known/\n"), (200, b"[]"), None),  # not even asked
        (DOWN, (200, b"[]"), None),
        ((404, b""), (404, b""), []),
        ((404, b""), (500, b""), []),
        ((404, b""), DOWN, []),
        ((404, b""), (200, b"<html>"), []),
    ],
)
def test_tdmrep_json(robots: tuple[int, bytes] | Failure, answer: tuple[int, bytes] | Failure, says: object) -> None:
    server = Server({"/robots.txt": robots, "/.well-known/tdmrep.json": answer})
    found = asyncio.run(server.files().reservations(f"{SITE}/closed/page"))
    assert [signal.says for signal in found] == (says or [])
    assert (f"{SITE}/.well-known/tdmrep.json" in server.asked) == (says is not None)
