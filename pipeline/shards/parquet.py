"""Parquet that Hugging Face `datasets` reads as images, class labels and latents without being told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import atomic_write
from pipeline.shards.base import ShardFile, ShardInfo, ShardSample

ROW_GROUP = 100  # images in a row group: small enough to stream, large enough to compress


class Parquet:
    """Writer of `parquet/SPLIT-00000-of-00004.parquet`."""

    folder = "parquet"

    def file_name(self, split: str, index: int, count: int) -> str:
        """Hugging Face's naming."""
        return f"{split}-{index:05d}-of-{count:05d}.parquet"

    def write(self, path: Path, samples: Sequence[ShardSample], info: ShardInfo) -> None:
        """Write one file. Column order and Arrow types are what readers recognise; do not reorder."""
        columns: dict[str, tuple[pa.DataType, list[Any]]] = {
            "image": (
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
                [{"bytes": s.image, "path": f"{s.id}.png"} for s in samples],
            ),
            "label": (pa.int64(), [s.label for s in samples]),
            "id": (pa.string(), [s.id for s in samples]),
            "source": (pa.string(), [s.source for s in samples]),
            "kind": (pa.string(), [s.kind for s in samples]),
            "partner": (pa.string(), [s.partner for s in samples]),
            "variant": (pa.int64(), [s.variant for s in samples]),
        }
        if info.latent_shape is not None:
            layers, channels = info.latent_shape
            latent_type = pa.list_(pa.list_(pa.float32(), channels), layers)
            columns["w"] = (latent_type, [s.latent.tolist() for s in samples if s.latent is not None])
        metadata = {"huggingface": json.dumps({"info": {"features": features(info)}})}
        schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata=metadata)
        arrays = [pa.array(values, type=kind) for kind, values in columns.values()]
        table = pa.Table.from_arrays(arrays, schema=schema)
        with atomic_write(path) as file:
            pq.write_table(table, file, row_group_size=ROW_GROUP, compression="zstd", store_schema=True)

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> list[str]:
        """Parquet needs no index."""
        return []


def features(info: ShardInfo) -> dict[str, Any]:
    """Hugging Face's feature types, in column order."""
    text, number = {"dtype": "string", "_type": "Value"}, {"dtype": "int64", "_type": "Value"}
    types: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(info.classes), "_type": "ClassLabel"},
        "id": text,
        "source": text,
        "kind": text,
        "partner": text,
        "variant": number,
    }
    if info.latent_shape is not None:
        layers, channels = info.latent_shape
        row = {"feature": {"dtype": "float32", "_type": "Value"}, "length": channels, "_type": "List"}
        types["w"] = {"feature": row, "length": layers, "_type": "List"}
    return types
