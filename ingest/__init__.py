"""The world comes in: crawl, extract, clean."""
