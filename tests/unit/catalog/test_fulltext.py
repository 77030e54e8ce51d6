"""The full-text index follows the live batches both ways, in English and Chinese."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import schema
from catalog.errors import Corrupt
from catalog.fulltext import FullText, segmented, tokens
from catalog.home import Home
from catalog.ledger import Row, now
from catalog.settings import CatalogSettings
from catalog.stage import Stage, StageReport

SOURCE = Stage("extract", (), ("documents",), 1, lambda _: {}, lambda home, config: StageReport("extract"))
TEXTS = {
    "apple": ("Apples", "A red apple keeps for months in a cool cellar."),
    "pear": ("Pears", "Pears ripen from the inside; an apple beside them hastens it."),
    "panda": ("熊猫", "大熊猫生活在中国西南的竹林里，每天吃十几公斤竹子。"),
    "cafe": ("Café", "The café roasts its own coffee."),
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(CatalogSettings(root=tmp_path))


def publish(home: Home, key: str, texts: dict[str, tuple[str, str]]) -> str:
    rows = [{"document_id": name, "title": title, "text": text} for name, (title, text) in texts.items()]
    table = pa.Table.from_pylist(rows, schema=schema.body("documents"))
    home.publish_origin(SOURCE, key, len(rows), {"documents": table}, {})
    return home.ledger.refresh().rows[-1].batch_id


def held(home: Home) -> FullText:
    words = FullText(home.root / "indexes")
    words.refresh(home.view())
    return words


def names(words: FullText, query: str, allowed: list[str] | None = None) -> list[str]:
    ids = None if allowed is None else pa.array(allowed, pa.string())
    return [name for name, _ in words.search(query, "text", 10, ids).hits]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("apples", ["apple", "pear"]),  # stems; the title weighs more
        ("apple cellar", ["apple", "pear"]),  # all words first, then some of them
        ("熊猫", ["panda"]),
        ("竹子", ["panda"]),
        ("cafe", ["cafe"]),  # accents do not matter
        ("zeppelin", []),
        ('") OR 1 NEAR(', []),  # nothing is syntax
        ("", []),
    ],
)
def test_words_find_rows(home: Home, query: str, expected: list[str]) -> None:
    publish(home, "one", TEXTS)
    assert names(held(home), query) == expected


def test_only_allowed_rows_are_found(home: Home) -> None:
    publish(home, "one", TEXTS)
    words = held(home)
    assert names(words, "apple", ["pear", "panda"]) == ["pear"]
    assert names(words, "apple", []) == []
    assert names(words, "apple") == ["apple", "pear"]


def test_it_follows_batches_both_ways(home: Home) -> None:
    publish(home, "one", {"apple": TEXTS["apple"]})
    second = publish(home, "two", {"pear": TEXTS["pear"]})
    assert names(held(home), "apple") == ["apple", "pear"]
    for kind, expected in (("revoke", ["apple"]), ("activate", ["apple", "pear"])):
        home.ledger.append(lambda _, k=kind: [Row(seq=0, kind=k, stage="extract", time=now(), targets=(second,))])
        assert names(held(home), "apple") == expected
    words = held(home)
    assert words.refresh(home.view()) is False
    assert words.count("text") == 2


def test_a_query_that_takes_too_long_gives_the_newest(home: Home) -> None:
    many = {f"d{i:05d}": ("", f"common word number {i}") for i in range(5000)}
    publish(home, "one", many)
    found = held(home).search("common", "text", 3, seconds=0)
    assert not found.ranked
    assert [name for name, _ in found.hits] == ["d04999", "d04998", "d04997"]


def test_what_is_forgotten_leaves_the_file_too(home: Home) -> None:
    publish(home, "one", {**TEXTS, "secret": ("Xyzzyplugh", "The plughxyzzy is hidden.")})
    words = held(home)
    assert words.forget(["secret", "unknown"]) == 1
    assert names(words, "plughxyzzy") == []
    words.close()
    for path in (home.root / "indexes").iterdir():
        assert b"lughxyz" not in path.read_bytes().lower() and b"yzzyplugh" not in path.read_bytes().lower()


def test_a_damaged_file_says_what_to_do(home: Home) -> None:
    publish(home, "one", TEXTS)
    held(home).close()
    (home.root / "indexes" / "fulltext.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(Corrupt, match="doctor --repair"):
        held(home)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("DELETE FROM rows WHERE id = 'pear'", "other rows than table documents"),
        ("UPDATE words_content SET c1 = 'something else' WHERE c1 LIKE '%cellar%'", "malformed"),
    ],
)
def test_rows_that_disagree_are_found(home: Home, spoil: str, said: str) -> None:
    publish(home, "one", TEXTS)
    words = held(home)
    assert words.problem(home.view()) is None
    words._db.execute(spoil)
    assert said in str(words.problem(home.view()))


@given(st.text(alphabet="ab 熊猫竹子\"'()*:^-+", max_size=30))
def test_segmenting_loses_no_character_and_tokens_hold_no_syntax(text: str) -> None:
    kept = set(segmented(text)) - {" "}
    assert kept == set(text) - {" "}
    assert all(word.isalnum() for word in tokens(text))
