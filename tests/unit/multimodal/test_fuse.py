"""Fused examples: reading order, valid offsets, templates, and what stays of broken media."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import schema
from catalog.errors import ConfigError
from multimodal.fuse import INPUTS, FuseWorker, fuse_documents, fused_id, resolve_media, template_id
from multimodal.settings import FuseSettings, FuseTemplate

FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = FuseSettings()


def document(
    *blocks: str | tuple[str, str], media: list[dict[str, Any]] | None = None, name: str = "d"
) -> dict[str, Any]:
    pairs = [block if isinstance(block, tuple) else ("paragraph", block) for block in blocks]
    ranges, place = [], 0
    for order, (kind, words) in enumerate(pairs):
        ranges.append({"kind": kind, "level": 0, "order": order, "start": place, "end": place + len(words)})
        place += len(words) + 2
    return {
        "document_id": name,
        "document_batch": "b",
        "url": f"http://t/{name}",
        "source": "t",
        "source_class": "blog",
        "fetched_at": FETCHED,
        "language": "en",
        "text": "\n\n".join(words for _, words in pairs),
        "blocks": ranges,
        "media": media or [],
        "licence": "CC0",
        "cluster_id": "c",
        "split": "train",
        "change": "new",
    }


def medium(media_id: str | None = "m", block: int | None = 0, **given: Any) -> dict[str, Any]:
    blank = {"url": "http://t/m", "kind": "image", "alt": None, "caption": None, "generated": None, "tags": []}
    return {**blank, "media_id": media_id, "block": block, "transcript": None, **given}


def fuse(row: dict[str, Any], wanted: FuseSettings = DEFAULTS) -> dict[str, Any]:
    (example,) = fuse_documents(pa.Table.from_pylist([row], schema=INPUTS), wanted).to_pylist()
    return dict(example)


def test_text_picture_and_sound_stand_in_reading_order() -> None:
    picture = medium("p", 0, alt="a frog")
    sound = medium("s", 1, kind="audio", transcript="croak croak")
    example = fuse(document("Frogs.", "They sing.", "End.", media=[sound, picture]))
    assert [(s["kind"], s["ref_id"], s["block"], s["start"], s["end"], s["text"]) for s in example["segments"]] == [
        ("text", "d", 0, 0, 6, "Frogs."),
        ("image", "p", 0, 6, 6, "a frog"),
        ("text", "d", 1, 8, 18, "They sing."),
        ("audio", "s", 1, 0, 11, "croak croak"),
        ("text", "d", 2, 20, 24, "End."),
    ]
    assert example["text"] == "Frogs.\n\n[image: a frog]\n\nThey sing.\n\n[audio: croak croak]\n\nEnd."


def test_source_licence_split_and_ids_are_carried() -> None:
    row = document("Frogs.", media=[medium("p")])
    example = fuse(row)
    for name in (
        "document_id",
        "document_batch",
        "url",
        "source",
        "licence",
        "language",
        "split",
        "cluster_id",
        "change",
    ):
        assert example[name] == row[name]
    assert example["example_id"] == fused_id("d", row["media"], DEFAULTS)
    assert example["template"] == template_id(DEFAULTS)


def test_a_picture_comes_before_its_caption_which_is_not_said_twice() -> None:
    picture = medium("p", 1, caption="A frog.", alt="frog, green")
    example = fuse(document("Frogs.", ("caption", "A frog."), media=[picture]))
    assert example["text"] == "Frogs.\n\n[image: frog, green]\n\nA frog."
    assert [s["kind"] for s in example["segments"]] == ["text", "image", "text"]
    assert example["segments"][1]["start"] == 8


def test_a_description_has_every_word_once_and_only_likely_tags() -> None:
    tags = [{"label": "cat", "score": 0.1}, {"label": "frog", "score": 0.5}, {"label": "animal", "score": 0.7}]
    picture = medium("p", caption="A frog", alt="A frog", generated="a green frog", tags=tags)
    assert fuse(document("Text.", media=[picture]))["segments"][1]["text"] == "A frog; a green frog; animal, frog"
    one = FuseSettings(num_tags=1)
    assert fuse(document("Text.", media=[picture]), one)["text"].endswith("[image: A frog; a green frog; animal]")


def test_a_picture_without_a_word_stays_a_segment_and_leaves_no_line() -> None:
    example = fuse(document("Text.", media=[medium("p")]))
    assert [s["kind"] for s in example["segments"]] == ["text", "image"]
    assert example["text"] == "Text."


def test_broken_media_leave_their_words_alone() -> None:
    example = fuse(document("Text.", media=[medium(None, alt="a lost frog"), medium(None, kind="audio")]))
    assert [s["kind"] for s in example["segments"]] == ["text"]
    assert example["text"] == "Text.\n\n[image: a lost frog]"


def test_a_silent_recording_is_a_segment_and_reads_as_its_words() -> None:
    silent = medium("s", kind="audio", transcript="", caption="The sea at night")
    example = fuse(document("Text.", media=[silent]))
    assert example["segments"][1]["kind"] == "audio"
    assert example["text"] == "Text.\n\n[audio: The sea at night]"


def test_a_page_of_media_alone_and_a_text_without_blocks() -> None:
    gallery = fuse(document(media=[medium("p", None, alt="one"), medium("q", None, alt="two")]))
    assert gallery["text"] == "[image: one]\n\n[image: two]"
    plain = fuse({**document("Whole text."), "blocks": None, "media": None})
    assert [(s["start"], s["end"]) for s in plain["segments"]] == [(0, 11)]


def test_the_template_is_a_setting_and_changes_the_id() -> None:
    mine = FuseSettings(template=FuseTemplate(image="<img>{alt}</img>", separator="\n"))
    row = document("Text.", media=[medium("p", alt="frog")])
    assert fuse(row, mine)["text"] == "Text.\n<img>frog</img>"
    assert fuse(row, mine)["example_id"] != fuse(row)["example_id"]
    assert template_id(FuseSettings(val=0.2)) == template_id(DEFAULTS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"template": {"image": "{colour}"}}, r"unknown field \{colour\}; known: alt, caption"),
        ({"template": {"audio": "{transcript"}}, "write {{ and }} for braces"),
        ({"val": 0.5, "test": 0.5}, "must leave a share for train"),
    ],
)
def test_mistakes_in_the_settings_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FuseSettings.parse(given, "conf.yaml")


def test_media_resolve_by_url_and_need_what_a_model_made_of_them() -> None:
    references = [{"url": f"u{n}", "kind": "image", "alt": "x", "caption": None, "block": n} for n in range(4)]
    media = {f"u{n}": {"media_id": f"m{n}", "kind": "audio" if n == 2 else "image"} for n in (0, 1, 2)}
    features = {"m0": {"caption": "seen", "tags": [{"label": "frog", "score": 1.0}]}}
    transcripts = {"m2": {"text": "heard"}}
    found = resolve_media(references, media, features, transcripts)
    assert [(r["media_id"], r["kind"], r["generated"], r["transcript"]) for r in found] == [
        ("m0", "image", "seen", None),
        (None, "image", None, None),  # fetched, but no model could read it
        ("m2", "audio", None, "heard"),
        (None, "image", None, None),  # never fetched
    ]


def test_a_row_that_is_a_block_off_the_end_is_put_last() -> None:
    example = fuse(document("One.", "Two.", media=[medium("p", 99), medium("q", -3)]))
    assert [s["ref_id"] for s in example["segments"]] == ["d", "q", "d", "p"]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=12)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    kinds = st.sampled_from(["heading", "paragraph", "caption", "list_item"])
    blocks = draw(st.lists(st.tuples(kinds, WORDS), max_size=6))
    media = draw(
        st.lists(
            st.builds(
                medium,
                st.none() | st.sampled_from(["m1", "m2", "m3"]),
                st.none() | st.integers(0, 7),
                alt=st.none() | WORDS,
                caption=st.none() | WORDS,
                transcript=st.none() | st.text(max_size=10),
            ),
            max_size=6,
        )
    )
    return document(*blocks, media=media, name=draw(st.sampled_from(["d1", "d2", "d3"])))


@given(documents())
def test_offsets_are_valid_and_segments_in_reading_order(row: dict[str, Any]) -> None:
    example = fuse(row)
    transcripts = {m["media_id"]: set() for m in row["media"]} | {"": set()}
    for item in row["media"]:
        transcripts[item["media_id"]].add(item["transcript"])
    for segment in example["segments"]:
        start, end = segment["start"], segment["end"]
        if segment["kind"] == "text":
            assert row["text"][start:end] == segment["text"]
        elif segment["kind"] == "audio":
            assert any(
                spoken is not None and spoken[start:end] == segment["text"] for spoken in transcripts[segment["ref_id"]]
            )
        else:
            assert 0 <= start == end <= len(row["text"])
    assert [s["block"] for s in example["segments"]] == sorted(s["block"] for s in example["segments"])
    texts = [s for s in example["segments"] if s["kind"] == "text"]
    assert [s["block"] for s in texts] == list(range(len(row["blocks"])))
    known = [m["media_id"] for m in row["media"] if m["media_id"]]
    assert sorted(s["ref_id"] for s in example["segments"] if s["kind"] != "text") == sorted(known)


@settings(max_examples=30)
@given(st.lists(documents(), max_size=4, unique_by=lambda row: row["document_id"]), st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_and_any_parts(rows: list[dict[str, Any]], random: Any) -> None:
    worker = FuseWorker(DEFAULTS)
    whole = worker(pa.Table.from_pylist(rows, schema=INPUTS))["examples"]
    assert whole.schema == schema.body("examples")
    random.shuffle(rows)
    parts = [worker(pa.Table.from_pylist([row], schema=INPUTS))["examples"] for row in rows]
    again = pa.concat_tables([whole.slice(0, 0), *parts]).sort_by("example_id")
    assert again.to_pylist() == whole.to_pylist()
