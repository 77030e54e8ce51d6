"""One entry of `data_sources`: what it is, guessed from its address where that is not said, and how to read it."""

import re
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from catalog.settings import Settings
from ingest.urls import canonical, hostname_of, path_and_query

SourceKind: TypeAlias = Literal["site", "page", "sitemap", "feed", "warc", "folder", "table"]
SourceClass: TypeAlias = Literal["news", "social", "blog", "other"]

WEB_KINDS = ("site", "page", "sitemap", "feed")
FILE_KINDS = ("folder", "warc", "table")
FEED_NAME = re.compile(r"(^|/)(feed|rss|atom)([./]|$)|\.(rss|atom)$", re.IGNORECASE)
SITEMAP_NAME = re.compile(r"(^|/)sitemap[^/]*\.xml(\.gz)?$", re.IGNORECASE)
ARCHIVE_NAME = re.compile(r"\.(warc|wet)(\.(gz|zst|lz4))?$|\.paths(\.gz)?$", re.IGNORECASE)
TABLE_NAME = re.compile(r"\.(parquet|arrow|((jsonl|ndjson|csv|tsv)(\.(gz|bz2|xz|zst))?))$", re.IGNORECASE)
DATASET_MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")  # what `save_to_disk` writes


class TableColumns(Settings):
    """Which column of a table holds what; null: guessed from the columns' names, '-': in none."""

    text: str | None = None
    markdown: str | None = None
    html: str | None = None
    url: str | None = None  # of the page that the row was taken from; a row with nothing else is a page to visit
    image: str | None = None  # bytes, paths below `base`, or web addresses, which are then fetched
    audio: str | None = None
    title: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    licence: str | None = None
    id: str | None = None  # makes the address of a row without URL, which otherwise is its number


class Source(Settings):
    """One place that the world comes in from."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    url: str = Field(min_length=1)  # a web address; for folder a local path; for warc and table a path, glob or URL
    kind: SourceKind
    source_class: SourceClass = Field(default="other", alias="class")
    depth: int = Field(default=3, ge=0)  # links followed from the seed
    max_pages: int = Field(default=1000, ge=1)  # new pages admitted in one run; of files only where it is given
    max_media: int = Field(default=5000, ge=0)  # new pictures and recordings admitted in one run
    max_urls: int = Field(default=1_000_000, ge=1)  # ever queued for this source
    share: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # of what a run may do, beside the other sources'
    base: str | None = None  # what the names in a listing of archives, or the media of a table, are relative to
    verify_digests: bool = True  # of the records of archives
    columns: TableColumns = TableColumns()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: object) -> object:
        if isinstance(value, str):
            value = {"url": value}
        if isinstance(value, dict) and isinstance(value.get("url"), str):
            guessed: dict[str, object] = {"kind": guess_kind(value["url"])}
            if "source_class" not in value:
                guessed["class"] = guess_class(value["url"])
            value = guessed | value
        return value

    @model_validator(mode="after")
    def _addressable(self) -> "Source":
        scheme = scheme_of(self.url)
        if scheme in ("http", "https") and canonical(self.url) is None:
            raise ValueError(f"'{self.url}' is not a valid URL")
        if self.kind in WEB_KINDS and scheme not in ("http", "https"):
            raise ValueError(f"a source of kind '{self.kind}' needs an http or https URL, not '{self.url}'")
        if self.kind == "folder" and scheme not in ("", "file"):
            raise ValueError(f"a source of kind '{self.kind}' needs a local path, not '{self.url}'")
        return self

    @property
    def row_limit(self) -> int | None:
        """How many new records of files one run takes in: `max_pages` where it is given, else all."""
        return self.max_pages if "max_pages" in self.model_fields_set else None


def scheme_of(url: str) -> str:
    """Return the lower-case URL scheme, or '' for a local path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", url)
    return match[1].lower() if match else ""


def guess_kind(url: str) -> SourceKind:
    """Guess what a source is from its address, and of a local folder whether it is a saved dataset."""
    web = scheme_of(url) in ("http", "https")
    path = path_and_query(canonical(url) or "http://x/").partition("?")[0] if web else url
    if ARCHIVE_NAME.search(path):
        return "warc"
    if TABLE_NAME.search(path):
        return "table"
    if web:
        return "sitemap" if SITEMAP_NAME.search(path) else "feed" if FEED_NAME.search(path) else "site"
    folder = Path(url.removeprefix("file://")).expanduser()
    return "table" if any((folder / mark).is_file() for mark in DATASET_MARKS) else "folder"


def guess_class(url: str) -> SourceClass:
    """Guess news, social or blog from the first label of the host; 'other' when it says nothing."""
    address = canonical(url)
    label = hostname_of(address).split(".")[0] if address else ""
    match label:
        case "news" | "social" | "blog":
            return label
        case _:
            return "other"
