"""croissant.json (MLCommons Croissant 1.0) of a shard set: its files with digests and its Parquet columns."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.shards.base import ShardFile, ShardInfo
from pipeline.shards.columns import columns

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "arrayShape": "cr:arrayShape",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
MEDIA_TYPES = {"tar": "application/x-tar", "parquet": "application/x-parquet", "h5": "application/x-hdf5"}


def croissant(info: ShardInfo, files: Sequence[ShardFile], date: str) -> str:
    """JSON-LD text; a record set is described where there are Parquet files."""
    distribution: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": MEDIA_TYPES[file.path.rsplit(".", 1)[1]],
            "sha256": file.sha256,
        }
        for file in files
    ]
    record_sets = []
    if any(file.path.startswith("parquet/") for file in files):
        distribution.append(
            {
                "@type": "cr:FileSet",
                "@id": "parquet-files",
                "name": "parquet-files",
                "encodingFormat": MEDIA_TYPES["parquet"],
                "includes": "parquet/*.parquet",
            }
        )
        record_sets.append({"@type": "cr:RecordSet", "@id": "samples", "name": "samples", "field": fields(info)})
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": info.name,
        "description": info.description or info.dataset,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": info.licence or "unknown",
        "url": info.homepage or "https://example.org/",
        "creator": {"@type": "sc:Organization", "name": "onmanifold"},
        "datePublished": date,
        "version": "1.0.0",
        "citeAs": f"{info.name}, made from {info.dataset} by onmanifold",
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return json.dumps(content, indent=1) + "\n"


def fields(info: ShardInfo) -> list[dict[str, Any]]:
    """The Parquet columns."""
    described = []
    for column in columns(info):
        extra = dict(column.field)
        source: dict[str, Any] = {"fileSet": {"@id": "parquet-files"}, "extract": {"column": column.name}}
        source |= extra.pop("source", {})
        described.append(
            {
                "@type": "cr:Field",
                "@id": f"samples/{column.name}",
                "name": column.name,
                "source": source,
                **extra,
            }
        )
    return described
