"""Shard formats, one writer each."""

from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.shards.base import ShardFormat

# name -> writer class, imported when first used
FORMATS = {
    "webdataset": "pipeline.shards.webdataset:WebDataset",
    "parquet": "pipeline.shards.parquet:Parquet",
    "dmat": "pipeline.shards.dmat:Dmat",
}


def shard_formats(names: str) -> "dict[str, ShardFormat]":
    """Writers for a comma-separated list of format names. Raises PipelineError for an unknown one."""
    writers: dict[str, ShardFormat] = {}
    for name in names.split(","):
        if name not in FORMATS:
            raise PipelineError(f"--format {name}: known formats are {', '.join(FORMATS)}")
        module, _, attribute = FORMATS[name].partition(":")
        writers[name] = getattr(import_module(module), attribute)()
    return writers
