"""Parquet that Hugging Face `datasets` reads as images, class labels and latents without being told."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import atomic_write
from pipeline.shards.base import Layout, ShardFile, ShardInfo, ShardSample
from pipeline.shards.columns import columns

ROW_GROUP = 100  # images in a row group: small enough to stream, large enough to compress


class Parquet:
    """Writer of `parquet/SPLIT-00000-of-00004.parquet`."""

    folder = "parquet"
    layout: ClassVar[Layout] = "shuffled"

    def check(self, info: ShardInfo) -> None:
        """It holds any set."""

    def file_name(self, split: str, index: int, count: int) -> str:
        """Hugging Face's naming."""
        return f"{split}-{index:05d}-of-{count:05d}.parquet"

    def write(self, path: Path, samples: Iterable[ShardSample], count: int, info: ShardInfo) -> None:
        """Write one file."""
        chosen = columns(info)
        features = {column.name: column.feature for column in chosen}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        schema = pa.schema([(column.name, column.arrow) for column in chosen], metadata=metadata)
        held = list(samples)
        arrays = [pa.array([column.value(s) for s in held], type=column.arrow) for column in chosen]
        table = pa.Table.from_arrays(arrays, schema=schema)
        with atomic_write(path) as file:
            pq.write_table(table, file, row_group_size=ROW_GROUP, compression="zstd", store_schema=True)

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> list[str]:
        """Parquet needs no index."""
        return []
