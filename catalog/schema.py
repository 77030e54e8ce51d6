"""Every table that crosses a border, declared once in Arrow."""

from enum import StrEnum

import pyarrow as pa

STRING = pa.string()
INT = pa.int64()
FLOAT = pa.float64()
TIME = pa.timestamp("us", tz="UTC")
VECTOR = pa.list_(pa.float32())


class Reason(StrEnum):
    """Why a stage turned a record away."""

    # crawl
    BAD_URL = "bad_url"
    BLOCKED_ADDRESS = "blocked_address"
    ROBOTS_DENIED = "robots_denied"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    OFF_SCOPE = "off_scope"
    TOO_DEEP = "too_deep"
    PAGE_LIMIT = "page_limit"
    TRAP = "trap"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    NOT_FOUND = "not_found"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    REDIRECT_LOOP = "redirect_loop"
    BAD_RESPONSE = "bad_response"
    TOO_LARGE = "too_large"
    WRONG_TYPE = "wrong_type"
    NOAI = "noai"
    CORRUPT = "corrupt"  # a record whose digest, gzip member or file structure does not hold
    BAD_ROW = "bad_row"  # a row of a table that cannot be read or holds nothing
    URL_LIMIT = "url_limit"
    REDIRECTED = "redirected"  # the URL itself holds nothing; the detail names the one that does
    # extract
    EMPTY_TEXT = "empty_text"
    EXTRACTOR_FAILED = "extractor_failed"
    TOO_SHORT = "too_short"
    LOW_QUALITY = "low_quality"
    SAME_TEXT = "same_text"
    WRONG_LANGUAGE = "wrong_language"
    ENCRYPTED = "encrypted"  # a PDF with a password
    # embed, transcribe, annotate
    DECODE_ERROR = "decode_error"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_SMALL = "too_small"
    TOO_NARROW = "too_narrow"  # one side many times the other
    LOW_AESTHETIC = "low_aesthetic"
    TOO_LONG = "too_long"
    MISSING_PAYLOAD = "missing_payload"
    NO_MODEL = "no_model"
    # any
    PURGED = "purged"  # taken down; nothing of it comes in again


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct(list(fields.items()))


def _table(**fields: pa.DataType) -> pa.Schema:
    return pa.schema([("batch_id", STRING), *fields.items()])


LOCATOR = {"warc_path": STRING, "warc_offset": INT, "warc_length": INT}
COUNTS = {"num_in": INT, "num_processed": INT, "num_rejected": INT, "num_reused": INT, "num_skipped": INT}

WORD = _struct(start=FLOAT, end=FLOAT, word=STRING, probability=FLOAT)
SEGMENT = _struct(
    start=FLOAT,
    end=FLOAT,
    text=STRING,
    avg_logprob=FLOAT,
    no_speech_prob=FLOAT,
    compression_ratio=FLOAT,
    words=pa.list_(WORD),
)
DROPPED = _struct(start=FLOAT, end=FLOAT, text=STRING, reason=STRING)  # no_speech | repetition | no_voice
BLOCK = _struct(kind=STRING, level=INT, order=INT, start=INT, end=INT)
HINTS = _struct(
    title=STRING,
    author=STRING,
    date=STRING,
    language=STRING,
    media=pa.list_(_struct(url=STRING, kind=STRING, alt=STRING)),
)
MEDIA_REFERENCE = _struct(url=STRING, kind=STRING, alt=STRING, caption=STRING, block=INT)
RULE_HITS = _struct(rule=STRING, hits=INT)  # how many changes each cleaning rule made
# Signals of quality after Gopher (arXiv 2112.11446) and C4 (arXiv 1910.10683); null where one has no meaning.
SIGNALS = _struct(
    num_words=INT,
    mean_word_length=FLOAT,
    symbol_to_word_ratio=FLOAT,
    alpha_word_fraction=FLOAT,
    num_stop_words=INT,
    bullet_line_fraction=FLOAT,
    ellipsis_line_fraction=FLOAT,
    terminal_line_fraction=FLOAT,
    short_line_fraction=FLOAT,
    num_javascript_lines=INT,
    num_policy_lines=INT,
    duplicate_line_fraction=FLOAT,
    duplicate_line_char_fraction=FLOAT,
    duplicate_paragraph_fraction=FLOAT,
    duplicate_paragraph_char_fraction=FLOAT,
    **{f"top_{n}_gram_char_fraction": FLOAT for n in (2, 3, 4)},
    **{f"duplicate_{n}_gram_char_fraction": FLOAT for n in range(5, 11)},
    num_sentences=INT,
    num_curly_braces=INT,
    num_lorem_ipsum=INT,
    compression_ratio=FLOAT,
)
ENTITY = _struct(start=INT, end=INT, label=STRING, text=STRING, score=FLOAT)
RELATION = _struct(label=STRING, head=INT, tail=INT, start=INT, end=INT, score=FLOAT)
SCORED = _struct(label=STRING, score=FLOAT)
EXAMPLE_SEGMENT = _struct(kind=STRING, ref_id=STRING, block=INT, start=INT, end=INT, text=STRING)
# What else is known of a segment: where the example's text says it, when a recording says it, under which licence it
# came, and which model's features it shows.
PLACEMENT = _struct(
    text_start=INT,
    text_end=INT,
    seconds_start=FLOAT,
    seconds_end=FLOAT,
    licence=STRING,
    model=STRING,
    revision=STRING,
)
# Features of a picture or recording that stand in for text[start:end], an empty range unless there is a placeholder.
SOFT_FEATURES = _struct(
    start=INT,
    end=INT,
    table=STRING,  # image_patches | audio_states
    media_id=STRING,
    model=STRING,
    revision=STRING,
    shape=pa.list_(INT),
    seconds_start=FLOAT,  # of a recording, where only a piece of it is meant
    seconds_end=FLOAT,
)

BATCHES = pa.schema(
    [
        ("seq", INT),
        ("kind", STRING),  # publish | activate | revoke | tag
        ("batch_id", STRING),
        ("stage", STRING),
        ("settings_hash", STRING),  # of the stage and of every stage before it: its recipe
        ("settings", STRING),  # JSON, for people
        ("inputs", pa.list_(_struct(batch_id=STRING, **COUNTS))),
        ("origins", pa.list_(STRING)),  # the origin batches that these rows descend from
        ("targets", pa.list_(STRING)),  # revoke and activate: the batches meant
        ("name", STRING),  # tag
        ("outputs", pa.list_(_struct(table=STRING, rows=INT))),
        ("rejects", pa.list_(_struct(reason=STRING, rows=INT))),
        ("code_version", STRING),
        ("time", TIME),
        ("at_seq", INT),  # tag: the seq that it names; revoke and activate by a rollback: the seq gone back to
    ]
)

TABLES: dict[str, pa.Schema] = {
    "pages": _table(
        page_id=STRING,
        url=STRING,
        source=STRING,
        source_class=STRING,
        depth=INT,
        referrer=STRING,
        fetched_at=TIME,
        status=INT,
        reason=STRING,
        content_type=STRING,
        num_bytes=INT,
        payload_sha256=STRING,
        robots_rule=STRING,
        rights=STRING,
        licence=STRING,
        **LOCATOR,
        hints=HINTS,  # what a list, a feed or a table says about the page beside its content
        attempts=pa.list_(STRING),  # those before it that brought nothing, each with its time
    ),
    "documents": _table(
        document_id=STRING,
        page_id=STRING,
        url=STRING,
        source=STRING,
        source_class=STRING,
        fetched_at=TIME,
        title=STRING,
        author=STRING,
        date=STRING,
        language=STRING,
        language_score=FLOAT,
        text=STRING,
        text_sha256=STRING,
        analysis_text=STRING,
        quality=_struct(num_chars=INT, num_words=INT, score=FLOAT),
        blocks=pa.list_(BLOCK),
        media=pa.list_(MEDIA_REFERENCE),
        licence=STRING,
        rights=STRING,
        rule_hits=pa.list_(RULE_HITS),
        signals=SIGNALS,
    ),
    "media": _table(
        media_id=STRING,
        page_id=STRING,
        url=STRING,
        kind=STRING,
        content_type=STRING,
        num_bytes=INT,
        fetched_at=TIME,
        licence=STRING,
        rights=STRING,
        **LOCATOR,
    ),
    "image_features": _table(
        media_id=STRING,
        width=INT,
        height=INT,
        phash=STRING,
        vector=VECTOR,
        tags=pa.list_(SCORED),
        caption=STRING,
        model=STRING,
        revision=STRING,
        caption_model=STRING,
        aesthetic=FLOAT,
        frame_time=FLOAT,  # seconds into a film, of which one row is one key frame; null for a picture
    ),
    "image_patches": _table(  # one row for each of image_features
        media_id=STRING, data=pa.binary(), shape=pa.list_(INT), model=STRING, revision=STRING, frame_time=FLOAT
    ),
    "thumbnails": _table(media_id=STRING, webp=pa.binary(), width=INT, height=INT),
    "text_features": _table(document_id=STRING, vector=VECTOR, model=STRING, revision=STRING),
    "transcripts": _table(
        media_id=STRING,
        duration=FLOAT,
        text=STRING,
        language=STRING,
        language_probability=FLOAT,
        segments=pa.list_(SEGMENT),
        backend=STRING,
        model=STRING,
        revision=STRING,
        pcm_sha256=STRING,  # of the samples heard: 16 kHz, mono, 16 bits, little endian
        dropped=pa.list_(DROPPED),  # what the model wrote that nobody seems to have said
    ),
    "audio_states": _table(
        media_id=STRING,
        data=pa.binary(),  # little-endian float16
        shape=pa.list_(INT),
        model=STRING,
        revision=STRING,
        starts=pa.list_(FLOAT),  # seconds at which each row begins; where nobody speaks there are none
    ),
    "annotations": _table(
        subject_id=STRING,
        subject_kind=STRING,
        entities=pa.list_(ENTITY),
        relations=pa.list_(RELATION),
        topics=pa.list_(SCORED),
        annotator=STRING,
        version=STRING,
    ),
    "duplicates": _table(
        record_id=STRING,
        record_batch=STRING,
        kept_id=STRING,
        kept_batch=STRING,
        kind=STRING,
        score=FLOAT,
        threshold=FLOAT,
        method=STRING,
        model=STRING,  # whose vectors were compared, with its revision; empty where none were
        revision=STRING,
        state=STRING,  # decided | proposed, which sets nothing aside unless a steward agrees; null before there was one
    ),
    "examples": _table(
        example_id=STRING,
        document_id=STRING,
        document_batch=STRING,
        url=STRING,
        segments=pa.list_(EXAMPLE_SEGMENT),
        text=STRING,
        split=STRING,
        cluster_id=STRING,
        change=STRING,
        template=STRING,
        source=STRING,
        source_class=STRING,
        language=STRING,
        licence=STRING,
        fetched_at=TIME,
        part=INT,  # of a document that was too long for one example: 1 … num_parts
        num_parts=INT,
        num_tokens=INT,  # of `text`; null where fuse.max_tokens is
        placements=pa.list_(PLACEMENT),  # one for each segment, in order
        features=pa.list_(SOFT_FEATURES),  # in reading order
    ),
    "rejects": _table(stage=STRING, record_id=STRING, url=STRING, reason=STRING, detail=STRING),
    "tombstones": _table(
        tombstone_id=STRING, subject=STRING, subject_kind=STRING, reason=STRING, who=STRING, time=TIME
    ),
    "reviews": _table(
        review_id=STRING,
        subject_id=STRING,
        verdict=STRING,
        labels=STRING,
        comment=STRING,
        who=STRING,
        time=TIME,
        other_id=STRING,  # of a verdict on two records: the one that the subject was compared with
    ),
    "feedback": _table(
        feedback_id=STRING,
        prompt=STRING,
        output=STRING,
        rating=FLOAT,
        comment=STRING,
        correction=STRING,
        model_version=STRING,
        who=STRING,
        time=TIME,
    ),
}

# The column that identifies a row among its batch; shards are sorted by it.
ROW_ID: dict[str, str] = {
    "pages": "page_id", "documents": "document_id", "media": "media_id", "image_features": "media_id",
    "image_patches": "media_id", "thumbnails": "media_id", "text_features": "document_id", "transcripts": "media_id",
    "audio_states": "media_id", "annotations": "subject_id", "duplicates": "record_id", "examples": "example_id",
    "rejects": "record_id", "tombstones": "tombstone_id", "reviews": "review_id", "feedback": "feedback_id",
}  # fmt: skip

# Columns with point lookups in the key index; `media.url` is the field url of every struct in the list media.
KEYS: dict[str, tuple[str, ...]] = {
    "pages": ("page_id", "url"), "documents": ("document_id", "url", "page_id", "text_sha256", "media.url"),
    "media": ("media_id", "url"), "image_features": ("media_id",), "thumbnails": ("media_id",),
    "image_patches": ("media_id",), "audio_states": ("media_id",),
    "text_features": ("document_id",), "transcripts": ("media_id", "pcm_sha256"), "annotations": ("subject_id",),
    "duplicates": ("record_id", "kept_id"), "examples": ("example_id", "document_id", "url"),
    "rejects": ("record_id", "url"), "reviews": ("subject_id", "other_id"),
}  # fmt: skip


def rejects(stage: str, rows: list[dict[str, str | None]]) -> pa.Table:
    """Build the `rejects` table (without batch_id) from rows of record_id, url, reason and detail."""
    schema = body("rejects")
    return pa.Table.from_pylist([{"stage": stage, **row} for row in rows], schema=schema)


def body(table: str) -> pa.Schema:
    """Return a table's schema as a stage's worker fills it: all columns but batch_id, which publishing adds."""
    schema = TABLES[table]
    return schema.remove(schema.get_field_index("batch_id"))
