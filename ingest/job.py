"""The stages of the intake."""

from ingest.crawl_job import CRAWL
from ingest.extract_job import EXTRACT

__all__ = ["CRAWL", "EXTRACT"]
