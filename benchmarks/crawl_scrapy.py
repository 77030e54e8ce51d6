"""Scrapy's side of the crawl benchmark, run by the peers' interpreter: crawl the seeds, write WARC with warcio."""

import io
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

counts = {"pages": 0}


class Writer:
    """Writes each response as one gzip member."""

    @classmethod
    def from_crawler(cls, crawler: Any) -> "Writer":
        """Make the pipeline, as Scrapy asks for it."""
        made = cls()
        made.path = Path(crawler.settings["WARC_PATH"])
        return made

    def open_spider(self) -> None:
        """Open the file."""
        self._file = self.path.open("wb")
        self._writer = WARCWriter(self._file, gzip=True, warc_version="1.1")

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """Write one record."""
        response = item["response"]
        pairs = [(name.decode(), value.decode()) for name, values in response.headers.items() for value in values]
        headers = StatusAndHeaders(f"{response.status} OK", pairs, protocol="HTTP/1.1")
        body = io.BytesIO(response.body)
        self._writer.write_record(
            self._writer.create_warc_record(response.url, "response", payload=body, http_headers=headers)
        )
        counts["pages"] += 1
        return item

    def close_spider(self) -> None:
        """Close the file."""
        self._file.close()


class Sites(scrapy.Spider):
    """Follows every link that stays on the seeds' hosts."""

    name = "sites"

    def parse(self, response: Any) -> Any:
        """Store a page and follow its links."""
        yield {"response": response}
        for link in self.links.extract_links(response):
            yield response.follow(link, self.parse)


def main(given: dict[str, Any]) -> None:
    """Crawl the seeds with politeness off."""
    Sites.start_urls = given["seeds"]
    Sites.links = LinkExtractor(allow_domains=[urlsplit(seed).netloc for seed in given["seeds"]])
    process = CrawlerProcess(
        {
            "ROBOTSTXT_OBEY": True, "DOWNLOAD_DELAY": 0, "AUTOTHROTTLE_ENABLED": False, "COOKIES_ENABLED": False,
            "CONCURRENT_REQUESTS": given["concurrency"], "CONCURRENT_REQUESTS_PER_DOMAIN": given["per_host"],
            "ITEM_PIPELINES": {Writer: 1}, "WARC_PATH": str(Path(given["folder"]) / "pages.warc.gz"),
            "LOG_ENABLED": False, "TELNETCONSOLE_ENABLED": False, "DEPTH_LIMIT": 0,
        }
    )  # fmt: skip
    before, started = _cpu(), time.monotonic()
    process.crawl(Sites)
    process.start()
    found = {"pages": counts["pages"], "seconds": time.monotonic() - started, "cpu": _cpu() - before}
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
