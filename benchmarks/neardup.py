"""Documents with known near-duplicate pairs: the labelled sets, an edit ladder, pages of one template, one article
under many templates."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PARCEL = (
    "Thank you for shopping with us. Your parcel has left our warehouse and will reach you within five working days. "
    "If you are not at home the carrier leaves a card and tries again on the next day. You may return any article "
    "within thirty days in its original packing; we pay the postage."
)
FORECAST = (
    "with some clouds in the morning and sunshine in the afternoon. The forecast for the coming week is updated every "
    "six hours by the national weather service; the figures come from the station nearest to the town centre."
)
CITIES = (
    "Oslo", "Bergen", "Paris", "Lyon", "Rome", "Milan", "Vienna", "Graz", "Madrid", "Porto", "Lisbon", "Dublin", "Cork",
    "London", "Leeds", "York",
)  # fmt: skip
PROGRAM = (
    "One of the stamps of a drawing program for children. Choose it in the list on the right, then click where it "
    "shall stand; the mouse wheel makes it larger or smaller. All stamps may be copied and changed freely."
)
CHINESE_PROGRAM = (
    "儿童绘画程序中的一枚印章。请先在右侧的列表中选择它，然后单击要放置的位置，"
    "滚动鼠标滚轮可以放大或缩小。所有印章都可以自由复制和修改。"
)
CHINESE_PARCEL = (
    "您的包裹已经从仓库发出，预计五个工作日内送达。如果您不在家，快递员会留下一张卡片，并在第二天再次派送。"
)
SITES = (
    ("{title} | The Daily Courier", "Home News Sport Weather Subscribe now and get the first month free.\n\n{text}",
     "Read more: what our readers said this week. Sign up for our newsletter. Follow us on every channel."),
    ("{title} - Northern Herald", "Published {hour}:{minute} by our staff\n\n{text}", "{count} comments. Share this."),
    ("{title}", "{text}", "Filed under archive. Previous story. Next story. {count} people read this page today."),
    ("News: {title}", "Advertisement\n\n{title}\n\n{text}", "Copyright {year}. Imprint. Privacy. Contact us."),
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One text to judge."""

    id: str
    text: str
    title: str = ""


@dataclass
class Labelled:
    """Documents, what each pair of duplicates was made by, and which further pairs nobody may merge."""

    documents: list[Document] = field(default_factory=list)
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    apart: dict[tuple[str, str], str] = field(default_factory=dict)


def edited_set(folder: Path, language: str) -> Labelled:
    """Read the English or the Chinese set with twelve kinds of edits; pairs of different base texts are unrelated.

    An `embedded` text holds another base text whole, so what it shares with other texts is no error.
    """
    documents = [Document(**row) for row in _rows(folder / f"generated_{language}.jsonl")]
    truth = list(_rows(folder / f"generated_{language}.truth.jsonl"))
    pairs = {_pair(row["a"], row["b"]): row["kind"] for row in truth}
    base = {item.id: item.id.partition("v")[0] for item in documents}
    loose = {row["b"] for row in truth if row["kind"] == "embedded"}
    apart = {
        _pair(one.id, other.id): "unrelated"
        for k, one in enumerate(documents)
        for other in documents[k + 1 :]
        if base[one.id] != base[other.id] and not {one.id, other.id} & loose
    }
    return Labelled(documents, pairs, apart)


def manuals(folder: Path) -> Labelled:
    """Read the hundred news texts, five of which have a copy; all other pairs are unrelated."""
    documents = [Document(**row) for row in _rows(folder / "articles_100.jsonl")]
    known = {_pair(*pair) for pair in json.loads((folder / "articles_100.truth.json").read_text())}
    ids = [item.id for item in documents]
    others = {_pair(a, b) for k, a in enumerate(ids) for b in ids[k + 1 :]} - known
    return Labelled(documents, dict.fromkeys(known, "copy"), dict.fromkeys(others, "unrelated"))


def ladder(texts: Sequence[str], every: int = 4, rates: Sequence[int] = (3, 5, 10, 20)) -> Labelled:
    """Plant, for every so many texts, a copy in which so many per cent of the words were replaced, dropped or added."""
    rng = random.Random(7)
    words = [word for text in texts[:2000] for word in text.split()]
    made = Labelled([Document(f"d{k}", text) for k, text in enumerate(texts)])
    for number, k in enumerate(range(0, len(texts), every)):
        rate = rates[number % len(rates)]
        made.documents.append(Document(f"d{k}e", edit(texts[k], rate / 100, words, rng)))
        made.pairs[_pair(f"d{k}", f"d{k}e")] = f"edit{rate:02d}"
    return made


def edit(text: str, share: float, words: Sequence[str], rng: random.Random) -> str:
    """Replace (a half), drop or add (a quarter each) the share of a text's words, at random places."""
    parts = text.split()
    for place in sorted(rng.sample(range(len(parts)), max(1, round(share * len(parts)))), reverse=True):
        how = rng.random()
        parts[place : place + 1] = (
            [rng.choice(words)] if how < 0.5 else [] if how < 0.75 else [parts[place], rng.choice(words)]
        )
    return " ".join(parts)


def lookalikes(captions: Path) -> Labelled:
    """Make pages of templates that differ in a number, a place or a name: all are about different things."""
    rng = random.Random(11)
    named = list(_rows(captions))
    foreign = [row for row in named if not row["caption_zh"].isascii()]
    long = f"{PARCEL} {FORECAST} {PROGRAM} " * 2
    families: dict[str, list[tuple[str, str]]] = {
        "order": [(f"Order {1000 + k}", f"Order {1000 + k}\n\nStatus: shipped. {PARCEL}") for k in range(40)],
        "order, number at the end": [("Your order", f"{PARCEL} Reference {7000 + k}.") for k in range(40)],
        "order, long": [(f"Order {5000 + k}", f"Order {5000 + k}\n\n{long}") for k in range(20)],
        "order, Chinese": [("您的订单", f"订单号：{880000 + k}。{CHINESE_PARCEL}") for k in range(40)],
        "weather": [(f"Weather in {city}", _weather(city, rng)) for city in CITIES],
        "gallery": [_gallery(row["caption_en"], PROGRAM) for row in named if row["caption_en"].isascii()],
        "gallery, Chinese": [_gallery(row["caption_zh"], CHINESE_PROGRAM) for row in foreign],
    }
    made = Labelled()
    for family, pages in families.items():
        distinct = [Document(f"{family} {k}", text, title) for k, (title, text) in enumerate(sorted(set(pages)))]
        made.documents += distinct
        made.apart |= {_pair(a.id, b.id): family for k, a in enumerate(distinct) for b in distinct[k + 1 :]}
    return made


def _weather(city: str, rng: random.Random) -> str:
    return (
        f"Weather in {city}\n\nToday in {city}: {rng.randint(-9, 30)} degrees, wind {rng.randint(1, 40)} km/h from the "
        f"north, humidity {rng.randint(20, 99)} per cent. Tomorrow {rng.randint(-9, 30)} degrees {FORECAST}"
    )


def _gallery(name: str, text: str) -> tuple[str, str]:
    return name, f"{name}\n\n{text}"


def syndicated(articles: Sequence[Document]) -> Labelled:
    """Put each article under four sites' templates: every two pages of one article are duplicates."""
    rng = random.Random(13)
    made = Labelled()
    for article in articles:
        title = " ".join(article.text.split()[:7])
        ids = []
        for number, (heading, above, below) in enumerate(SITES):
            fields = {
                "title": title,
                "text": article.text,
                "count": rng.randint(2, 900),
                "year": rng.randint(2020, 2026),
            }
            fields |= {"hour": rng.randint(10, 23), "minute": rng.randint(10, 59)}
            ids.append(f"{article.id} site{number}")
            text = f"{above.format(**fields)}\n\n{below.format(**fields)}"
            made.documents.append(Document(ids[-1], text, heading.format(**fields)))
        made.pairs |= {_pair(a, b): "syndicated" for k, a in enumerate(ids) for b in ids[k + 1 :]}
    return made


def cut(folder: Path, num_words: int) -> Iterator[str]:
    """Cut the texts of the English domains and of the English set into documents of so many words, each once."""
    paths = [*sorted((folder / "domains").glob("en_*/*.jsonl")), folder / "neardup" / "generated_en-US.jsonl"]
    for path in paths:
        words = " ".join(row["text"] for row in _rows(path) if "v" not in row["id"] or "domain" in row).split()
        for start in range(0, len(words) - num_words, num_words):
            yield " ".join(words[start : start + num_words])


def mixed(texts: Sequence[str], count: int, num_words: int) -> Iterator[str]:
    """Make any number of documents of real sentences in random order: as diverse as wanted, none like another."""
    rng = random.Random(17)
    sentences = [item for text in texts for item in re.split(r"(?<=[.;!?]) ", text) if 4 <= len(item.split()) <= 30]
    for _ in range(count):
        parts: list[str] = []
        while sum(map(len, parts)) < 6 * num_words:
            parts.append(rng.choice(sentences))
        yield " ".join(parts)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
