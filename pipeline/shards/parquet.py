"""Parquet that Hugging Face `datasets` reads as images, class labels and latents without being told."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import atomic_write
from pipeline.shards.base import Layout, Put, ShardFile, ShardInfo, ShardSample
from pipeline.shards.columns import columns

ROW_GROUP = 100  # images in a row group: small enough to stream, large enough to compress
GROUP_BYTES = 2**26  # of encoded images in a row group, after which it ends


class Parquet:
    """Writer of `parquet/SPLIT-00000-of-00004.parquet`."""

    folder = "parquet"
    indexes: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[Layout] = "shuffled"

    def check(self, info: ShardInfo) -> None:
        """It holds any set."""

    def file_name(self, split: str, index: int, count: int) -> str:
        """Hugging Face's naming."""
        return f"{split}-{index:05d}-of-{count:05d}.parquet"

    @contextmanager
    def writing(self, path: Path, count: int, info: ShardInfo) -> Iterator[Put]:
        """Begin a file."""
        chosen = columns(info)
        features = {column.name: column.feature for column in chosen}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        schema = pa.schema([(column.name, column.arrow) for column in chosen], metadata=metadata)
        rows: list[list[Any]] = []
        held = 0
        with atomic_write(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as target:

            def put(samples: Sequence[ShardSample]) -> None:
                nonlocal held
                for sample in samples:
                    rows.append([column.value(sample) for column in chosen])
                    held += len(sample.image) + len(sample.original or b"")
                    if len(rows) == ROW_GROUP or held >= GROUP_BYTES:
                        flush()

            def flush() -> None:
                nonlocal held
                values = zip(*rows, strict=True)
                arrays = [pa.array(v, type=c.arrow) for v, c in zip(values, chosen, strict=True)]
                target.write_table(pa.Table.from_arrays(arrays, schema=schema))
                rows.clear()
                held = 0

            yield put
            if rows:
                flush()

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> None:
        """Parquet needs no index."""
