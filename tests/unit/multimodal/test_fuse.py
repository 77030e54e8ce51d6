"""Fused examples: reading order, valid offsets, templates, and what stays of broken media."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from toytokenizer import make_tokenizer

from catalog import schema
from catalog.errors import ConfigError
from multimodal.fuse import INPUTS, FuseWorker, fused_id, resolve_media, template_id
from multimodal.lines import Span, passages
from multimodal.settings import FuseSettings, FuseTemplate

FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = FuseSettings()


TOKENIZER = make_tokenizer().to_str()
SHORT = FuseSettings(max_tokens=16)


def num_tokens(text: str) -> int:
    return len(Tokenizer.from_str(TOKENIZER).encode(text).ids)


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


def seen(caption: str | None = None, tags: Any = (), seconds: float | None = None, **by: Any) -> dict[str, Any]:
    """What a model sees in a picture, or in a film at some second."""
    blank = {"model": "clip", "revision": "c1", "shape": None}
    return {**blank, "caption": caption, "tags": list(tags), "seconds": seconds, **by}


def heard(text: str, *passages: tuple[float, float, str], duration: float = 9.0, **by: Any) -> dict[str, Any]:
    """What a model hears in a recording."""
    said = [dict(zip(("start", "end", "text"), passage, strict=True)) for passage in passages]
    blank = {"model": "whisper", "revision": "w1", "shape": None}
    return {**blank, "text": text, "duration": duration, "passages": said, **by}


def medium(media_id: str | None = "m", block: int | None = 0, **given: Any) -> dict[str, Any]:
    """A picture or, where something is heard, a recording."""
    blank = {"url": "http://t/m", "kind": "image", "alt": None, "caption": None, "licence": None, "speech": None}
    pictures = [seen()] if media_id and not given.get("speech") else []
    return {**blank, "media_id": media_id, "block": block, "pictures": pictures, **given}


def fuse_all(
    row: dict[str, Any], wanted: FuseSettings = DEFAULTS, tokenizer: str | None = None
) -> list[dict[str, Any]]:
    rows = pa.Table.from_pylist([row], schema=INPUTS)
    examples = FuseWorker(wanted, tokenizer)(rows)["examples"].to_pylist()
    return sorted(examples, key=lambda example: example["part"])


def fuse(row: dict[str, Any], wanted: FuseSettings = DEFAULTS) -> dict[str, Any]:
    (example,) = fuse_all(row, wanted)
    return example


def test_text_picture_and_sound_stand_in_reading_order() -> None:
    picture = medium("p", 0, alt="a frog")
    sound = medium("s", 1, kind="audio", speech=heard("croak croak"))
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
    assert example["example_id"] == fused_id("d", row["media"], template_id(DEFAULTS))
    assert example["template"] == template_id(DEFAULTS)


def test_a_picture_comes_before_its_caption_which_is_not_said_twice() -> None:
    picture = medium("p", 1, caption="A frog.", alt="frog, green")
    example = fuse(document("Frogs.", ("caption", "A frog."), media=[picture]))
    assert example["text"] == "Frogs.\n\n[image: frog, green]\n\nA frog."
    assert [s["kind"] for s in example["segments"]] == ["text", "image", "text"]
    assert example["segments"][1]["start"] == 8


def test_a_description_has_every_word_once_and_only_likely_tags() -> None:
    tags = [{"label": "cat", "score": 0.1}, {"label": "frog", "score": 0.5}, {"label": "animal", "score": 0.7}]
    picture = medium("p", caption="A frog", alt="A frog", pictures=[seen("a green frog", tags)])
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
    silent = medium("s", kind="audio", speech=heard(""), caption="The sea at night")
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


def test_a_document_reads_in_its_own_language() -> None:
    chinese = FuseTemplate(image="［图：{description}］", joint="；", tag_joint="、", labels={"moon": "月亮"})
    wanted = FuseSettings(languages={"zh": chinese})
    tags = [{"label": "moon", "score": 0.9}, {"label": "sky", "score": 0.8}]
    picture = medium("p", alt="满月", pictures=[seen(tags=tags)])
    page = {**document("中秋。", media=[picture]), "language": "zh"}
    assert fuse(page, wanted)["text"] == "中秋。\n\n［图：满月；月亮、sky］"
    assert fuse(document("Autumn.", media=[picture]), wanted)["text"] == "Autumn.\n\n[image: 满月; moon, sky]"
    assert template_id(wanted) != template_id(DEFAULTS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"template": {"image": "{colour}"}}, r"unknown field \{colour\}; known: alt, caption"),
        ({"template": {"audio": "{transcript"}}, "write {{ and }} for braces"),
        ({"template": {"text": "{text:>20}"}}, "alone, without a format"),
        ({"val": 0.5, "test": 0.5}, "must leave a share for train"),
    ],
)
def test_mistakes_in_the_settings_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FuseSettings.parse(given, "conf.yaml")


def test_media_resolve_by_url_and_need_what_a_model_made_of_them() -> None:
    references = [{"url": f"u{n}", "kind": "image", "alt": "x", "caption": None, "block": n} for n in range(4)]
    media = {
        f"u{n}": {"media_id": f"m{n}", "kind": "audio" if n == 2 else "image", "licence": "CC0"} for n in (0, 1, 2)
    }
    found = resolve_media(references, media, {"m0": [seen("seen")]}, {"m2": heard("heard")})
    told = [(r["media_id"], r["kind"], r["pictures"], r["speech"], r["licence"]) for r in found]
    assert told == [
        ("m0", "image", [seen("seen")], None, "CC0"),
        (None, "image", [], None, "CC0"),  # fetched, but no model could read it
        ("m2", "audio", [], heard("heard"), "CC0"),
        (None, "image", [], None, None),  # never fetched
    ]


def test_a_row_that_is_a_block_off_the_end_is_put_last() -> None:
    example = fuse(document("One.", "Two.", media=[medium("p", 99), medium("q", -3)]))
    assert [s["ref_id"] for s in example["segments"]] == ["d", "q", "d", "p"]


def test_a_recording_has_a_segment_for_each_passage_with_its_seconds() -> None:
    talk = heard("Frogs sing. They sing at night.", (0.5, 1.5, " Frogs sing."), (2.0, 4.0, " They sing at night."))
    example = fuse(document("Text.", media=[medium("s", speech=talk, licence="CC-BY-4.0")]))
    assert [(s["start"], s["end"], s["text"]) for s in example["segments"][1:]] == [
        (0, 11, "Frogs sing."),
        (12, 31, "They sing at night."),
    ]
    assert example["text"] == "Text.\n\n[audio: Frogs sing. They sing at night.]"
    for segment, place in zip(example["segments"], example["placements"], strict=True):
        assert example["text"][place["text_start"] : place["text_end"]] == segment["text"]
    assert [(p["seconds_start"], p["seconds_end"], p["licence"], p["model"]) for p in example["placements"]] == [
        (None, None, "CC0", None),
        (0.5, 1.5, "CC-BY-4.0", "whisper"),
        (2.0, 4.0, "CC-BY-4.0", "whisper"),
    ]


def test_passages_that_do_not_make_up_the_transcript_leave_it_whole() -> None:
    assert passages("All of it.", [{"text": "of", "start": 0.0, "end": 1.0}], 3.0) == (
        Span(0, 10, "All of it.", (0.0, 3.0)),
    )


def test_a_film_shows_its_key_frames_among_what_is_said() -> None:
    said = heard("One. Two.", (0.0, 1.0, "One."), (5.0, 6.0, "Two."), shape=[40, 8])
    shown = [seen("a hall", seconds=4.0, shape=[49, 8]), seen("a door", seconds=0.0, shape=[49, 8])]
    example = fuse(document(media=[medium("f", None, kind="video", alt="a visit", pictures=shown, speech=said)]))
    assert example["text"] == "[image: a visit; a door]\n\n[audio: One.]\n\n[image: a hall]\n\n[audio: Two.]"
    assert [p["seconds_start"] for p in example["placements"]] == [0.0, 0.0, 4.0, 5.0]
    features = [(f["table"], f["seconds_start"], f["seconds_end"]) for f in example["features"]]
    assert features == [
        ("image_patches", 0.0, 0.0), ("audio_states", 0.0, 1.0),
        ("image_patches", 4.0, 4.0), ("audio_states", 5.0, 6.0),
    ]  # fmt: skip


@pytest.mark.parametrize("token", ["", "<image>"])
def test_features_for_soft_tokens_name_their_row_and_their_place(token: str) -> None:
    pictures = [
        medium("p", 0, alt="a frog", pictures=[seen(shape=[49, 8])]),
        medium("q", 1, pictures=[seen(shape=[49, 8])]),
    ]
    wanted = FuseSettings(template=FuseTemplate(image_token=token))
    example = fuse(document("One.", "Two.", "Three.", media=[*pictures, medium("r", 2, alt="no features")]), wanted)
    assert [(f["table"], f["media_id"], f["model"], f["revision"], f["shape"]) for f in example["features"]] == [
        ("image_patches", "p", "clip", "c1", [49, 8]),
        ("image_patches", "q", "clip", "c1", [49, 8]),
    ]
    text = example["text"]
    assert [text[f["start"] : f["end"]] for f in example["features"]] == [token, token]
    assert text[example["features"][0]["end"] :].startswith("[image: a frog]")
    bare = text
    for feature in reversed(example["features"]):
        bare = bare[: feature["start"]] + bare[feature["end"] :]
    assert "<image>" not in bare
    assert template_id(wanted) == template_id(DEFAULTS) or token


def test_a_picture_that_stands_twice_at_one_place_is_shown_once_with_the_words_of_both() -> None:
    example = fuse(document("Text.", media=[medium("p", alt="a frog"), medium("p", caption="Green.")]))
    assert [s["kind"] for s in example["segments"]] == ["text", "image"]
    assert example["text"] == "Text.\n\n[image: Green.; a frog]"


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=12)


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, Any]:
    said = [words for words in draw(st.lists(WORDS, max_size=4)) if words.strip()]
    text = " ".join(words.strip() for words in said)
    return heard(text, *((float(k), k + 1.0, words) for k, words in enumerate(said)))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    kinds = st.sampled_from(["heading", "paragraph", "caption", "list_item"])
    blocks = draw(st.lists(st.tuples(kinds, st.text(max_size=200) | WORDS), max_size=6))
    media = draw(
        st.lists(
            st.builds(
                medium,
                st.none() | st.sampled_from(["m1", "m2", "m3"]),
                st.none() | st.integers(0, 7),
                alt=st.none() | WORDS,
                caption=st.none() | WORDS,
                speech=st.none() | recordings(),
            ),
            max_size=6,
        )
    )
    return document(*blocks, media=media, name=draw(st.sampled_from(["d1", "d2", "d3"])))


@settings(max_examples=60)
@given(documents(), st.booleans())
def test_offsets_are_valid_and_segments_in_reading_order(row: dict[str, Any], limited: bool) -> None:
    """Of whole documents and of those cut into parts: what a segment says stands where it says, in source and text."""
    examples = fuse_all(row, SHORT, TOKENIZER) if limited else fuse_all(row)
    spoken = {m["media_id"]: set() for m in row["media"]}
    for item in row["media"]:
        spoken[item["media_id"]].add(item["speech"]["text"] if item["speech"] else None)
    for example in examples:
        place = 0
        for segment, placement in zip(example["segments"], example["placements"], strict=True):
            start, end = segment["start"], segment["end"]
            if segment["kind"] == "text":
                assert row["text"][start:end] == segment["text"]
            elif segment["kind"] == "audio":
                said = spoken[segment["ref_id"]]
                assert any(text is not None and text[start:end] == segment["text"] for text in said)
            else:
                assert 0 <= start == end <= len(row["text"])
            if segment["kind"] != "image" and placement["text_start"] is not None:
                assert example["text"][placement["text_start"] : placement["text_end"]] == segment["text"]
                assert placement["text_start"] >= place  # in order, none inside another
                place = placement["text_end"]
            assert placement["text_start"] is not None or segment["kind"] != "text"
    segments = [segment for example in examples for segment in example["segments"]]
    assert [s["block"] for s in segments] == sorted(s["block"] for s in segments)
    for number, block in enumerate(row["blocks"]):
        texts = [s for s in segments if s["kind"] == "text" and s["block"] == number]
        assert "".join(s["text"] for s in texts) == row["text"][block["start"] : block["end"]]
    last = max(0, len(row["blocks"]) - 1)
    stands = {(m["media_id"], max(0, min(m["block"] or 0, last))) for m in row["media"] if m["media_id"]}
    assert {(s["ref_id"], s["block"]) for s in segments if s["kind"] != "text"} == stands
    pictures = [(s["ref_id"], s["block"]) for s in segments if s["kind"] == "image"]
    assert len(set(pictures)) == len(pictures)


@settings(max_examples=40)
@given(documents())
def test_no_part_is_longer_than_the_limit_and_the_parts_share_nothing_but_the_document(row: dict[str, Any]) -> None:
    examples = fuse_all(row, SHORT, TOKENIZER)
    assert [example["part"] for example in examples] == [*range(1, len(examples) + 1)]
    assert {example["num_parts"] for example in examples} == {len(examples)}
    for example in examples:
        assert example["num_tokens"] == num_tokens(example["text"]) <= 16
        assert example["split"] == row["split"]
    assert len({example["example_id"] for example in examples}) == len(examples)
    heard_of = {m["media_id"]: m["speech"]["text"] for m in row["media"][:1] if m["media_id"] and m["speech"]}
    for media_id, text in heard_of.items():
        place = max(0, min(row["media"][0]["block"] or 0, len(row["blocks"]) - 1))
        segments = [s for example in examples for s in example["segments"]]
        said = [s["text"] for s in segments if (s["kind"], s["ref_id"], s["block"]) == ("audio", media_id, place)]
        assert "".join("".join(said).split()) == "".join(text.split())


def test_a_long_block_is_cut_at_the_ends_of_sentences() -> None:
    text = "The kettle sings in the kitchen. The tea is green and hot. A cat sleeps by the window. The night is long."
    wanted = FuseSettings(max_tokens=40)
    examples = fuse_all(document("Tea.", text, media=[medium("p", 1, alt="a cup")]), wanted, TOKENIZER)
    assert len(examples) > 1
    assert all(s["text"].rstrip().endswith(".") for e in examples for s in e["segments"] if s["kind"] == "text")
    assert examples[-1]["segments"][-1]["kind"] == "image"
    whole = fuse_all(document("Tea.", text), FuseSettings(max_tokens=1000), TOKENIZER)
    assert (len(whole), whole[0]["num_parts"]) == (1, 1)
    assert template_id(SHORT, TOKENIZER) != template_id(FuseSettings(max_tokens=17), TOKENIZER) != template_id(DEFAULTS)


def test_a_template_that_fills_the_limit_alone_is_refused() -> None:
    chatty = FuseSettings(
        max_tokens=16, template=FuseTemplate(audio="what follows was said by some person here: {transcript}")
    )
    with pytest.raises(ConfigError, match=r"fuse.max_tokens: template.audio alone takes \d+ of 16 tokens"):
        FuseWorker(chatty, TOKENIZER)


@settings(max_examples=15)
@given(st.lists(documents(), max_size=4, unique_by=lambda row: row["document_id"]), st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_and_any_parts(rows: list[dict[str, Any]], random: Any) -> None:
    worker = FuseWorker(SHORT, TOKENIZER)
    whole = worker(pa.Table.from_pylist(rows, schema=INPUTS))["examples"]
    assert whole.schema == schema.body("examples")
    random.shuffle(rows)
    parts = [worker(pa.Table.from_pylist([row], schema=INPUTS))["examples"] for row in rows]
    again = pa.concat_tables([whole.slice(0, 0), *parts]).sort_by("example_id")
    assert again.to_pylist() == whole.to_pylist()
