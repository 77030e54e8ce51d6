"""Settings of the intake: which sources, how to behave on the network, and what to keep."""

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, ByteSize, Field

from catalog.settings import Settings
from ingest.cleaning_settings import CleaningRules as CleaningRules
from ingest.quality_settings import Quality
from ingest.source_settings import Source

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(value: object) -> object:
    """Turn '45m', '1.5h' or a number into seconds; leave anything else for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
        if not match:
            raise ValueError(f"'{value}' is not a duration; write seconds, or a number with s, m, h or d")
        return float(match[1]) * UNITS[match[2] or "s"]
    return value


Seconds: TypeAlias = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0, allow_inf_nan=False)]


class TrapSettings(Settings):
    """From when on a URL is taken for one of an endless family."""

    max_url_length: int = Field(default=2048, ge=1)
    max_segments: int = Field(default=20, ge=1)  # of its path
    max_repeats: int = Field(default=3, ge=1)  # of one path segment or one parameter name
    max_parameters: int = Field(default=10, ge=1)
    max_variants: int = Field(default=500, ge=1)  # URLs with one path and the same two or more parameters
    max_host_urls: int = Field(default=1_000_000, ge=1)  # ever queued for one host


class NetworkSettings(Settings):
    """How the crawler behaves towards other people's machines."""

    user_agent: str = Field(default="headrace", pattern=r"^[A-Za-z_-]+$")  # the product token that robots.txt names
    contact: str = Field(default="", pattern=r"^[\x21-\x7e]*$")  # how owners of sites reach you: mailto:you@example.org
    allow_private_hosts: tuple[str, ...] = ()  # 127.0.0.1, localhost:8000, 10.0.0.0/8
    max_bytes: ByteSize = Field(default=ByteSize(50_000_000), gt=0)  # of one response, decoded
    ask_tdmrep: bool = True  # ask each site for /.well-known/tdmrep.json
    max_parse_seconds: Seconds = Field(default=10.0, gt=0)  # to read the links of one page, feed or sitemap
    delay: Seconds = 1.0  # between two requests to one host; robots.txt may ask for more
    concurrency: int = Field(default=16, ge=1)
    concurrency_per_host: int = Field(default=4, ge=1)  # applies where delay is 0
    timeout: Seconds = Field(default=30.0, gt=0)  # of one request, from connecting to the last byte
    connect_timeout: Seconds = Field(default=10.0, gt=0)  # resolving the name included
    read_timeout: Seconds = Field(default=15.0, gt=0)  # of silence, before the first byte and between any two
    min_rate: ByteSize = Field(default=ByteSize(100), ge=0)  # bytes a second of a body, from its sixth second on
    max_memory: ByteSize = Field(default=ByteSize(100_000_000), gt=0)  # of all bodies held at once; one may go beyond
    max_redirects: int = Field(default=10, ge=0)
    retries: int = Field(default=2, ge=0)
    retry_delay: Seconds = 1.0  # doubled at each retry
    max_retry_after: Seconds = 60.0  # a longer Retry-After puts the host off until a later run
    max_delay: Seconds = 60.0  # up to which refusals, errors and slow answers raise the delay of their host
    slow_response: Seconds = Field(default=10.0, gt=0)  # an answer that takes longer counts as a sign of strain
    max_run_seconds: Seconds | None = None  # when a run stops asking; what it has is published, the rest waits
    max_run_visits: int | None = Field(default=None, ge=1)  # URLs asked in one run, shared out by the sources' `share`
    recrawl_after: Seconds = 2700.0  # how long a new or changed page counts as fresh; seeds are asked in every run
    recrawl_max: Seconds = 604800.0  # up to which that grows while a page stays as it was
    drop_after: int = Field(default=5, ge=1)  # times that a URL was gone (404, 410), after which it is dropped
    traps: TrapSettings = TrapSettings()
    segment_bytes: ByteSize = Field(default=ByteSize(64_000_000), gt=0)
    segment_records: int = Field(default=2000, ge=1)


OPT_OUTS = ("noai", "noimageai", "tdm-reservation")


class ExtractSettings(Settings):
    """Which pages become documents."""

    languages: tuple[str, ...] = ()  # ISO 639-1; empty: all
    respect_rights: bool = True  # turn away what the signals in opt_outs reserve; off: all is taken, signals are kept
    opt_outs: tuple[str, ...] = OPT_OUTS  # of X-Robots-Tag, <meta name=robots> and TDM reservation
    min_chars: int = Field(default=20, ge=0)  # a page with pictures or recordings may say less
    min_quality: float = Field(default=0.0, ge=0, le=1)
    quality: Quality = Field(default_factory=dict)  # bounds of signals, or gopher, or c4
    max_html_bytes: ByteSize = Field(default=ByteSize(10_000_000), gt=0)
    max_elements: int = Field(default=200_000, ge=1)  # of one page's tree
    max_pdf_bytes: ByteSize = Field(default=ByteSize(50_000_000), gt=0)
    max_pdf_pages: int = Field(default=1000, ge=1)
    max_seconds: Seconds = Field(default=30.0, gt=0)  # to read one page
    max_memory: ByteSize = Field(default=ByteSize(4_000_000_000), gt=500_000_000)  # of the process that reads pages


class IngestSettings(Settings):
    """The top-level keys that the intake owns."""

    data_sources: tuple[Source, ...] = ()
    network: NetworkSettings = NetworkSettings()
    cleaning_rules: CleaningRules = CleaningRules()
    extract: ExtractSettings = ExtractSettings()
