"""Croissant metadata of an export (MLCommons Croissant 1.0): files, fields, and each source's licence."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalog.card import Tally
from catalog.schema import TABLES

CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
ENCODINGS = {
    "jsonl": "application/jsonlines",
    "parquet": "application/x-parquet",
    "huggingface": "application/x-parquet",
    "webdataset": "application/x-tar",
}
INCLUDES = {"jsonl": "examples-*.jsonl", "parquet": "examples-*.parquet", "huggingface": "data/*.parquet"}
FILES = "data-files"
TYPES = {pa.string(): "sc:Text", pa.int64(): "sc:Integer", pa.float64(): "sc:Float"}


def croissant(told: Mapping[str, Any], tally: Tally, written: Sequence[tuple[str, int, str]]) -> bytes:
    """Describe files given as (name, bytes, SHA-256)."""
    objects = [
        {
            "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "contentSize": f"{size} B",
            "encodingFormat": ENCODINGS[told["format"]], "sha256": sha256,
        }
        for name, size, sha256 in written
    ]  # fmt: skip
    sources = tally.licences_by_source()
    has_records = bool(objects) and told["format"] in INCLUDES
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "headrace-export",
        "description": f"{tally.rows} fused examples of text, pictures and sound, exported by headrace from seq "
        f"{told['seq']} of its ledger.",
        "version": f"{told['seq']}.0.0",
        **({"datePublished": told["date"]} if told["date"] else {}),
        "license": sorted({licence for licences in sources.values() for licence in licences}),
        "isBasedOn": [
            {"@type": "sc:CreativeWork", "name": source, "url": source, "license": sorted(licences)}
            for source, licences in sorted(sources.items())
        ],
        "distribution": [*objects, *([_files(told["format"])] if has_records else [])],
        "recordSet": [_records()] if has_records else [],
    }
    return (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode()


def _files(file_format: str) -> dict[str, Any]:
    """Name all data files together, beside this description: rows of a record set come from one source."""
    return {
        "@type": "cr:FileSet", "@id": FILES, "name": FILES, "encodingFormat": ENCODINGS[file_format],
        "includes": INCLUDES[file_format],
    }  # fmt: skip


def _records() -> dict[str, Any]:
    """Describe the scalar columns of the data files."""
    fields = [
        {
            "@type": "cr:Field", "@id": f"examples/{field.name}", "name": field.name, "dataType": TYPES[field.type],
            "source": {"fileSet": {"@id": FILES}, "extract": {"column": field.name}},
        }
        for field in TABLES["examples"]
        if field.type in TYPES
    ]  # fmt: skip
    return {"@type": "cr:RecordSet", "@id": "examples", "name": "examples", "field": fields}
