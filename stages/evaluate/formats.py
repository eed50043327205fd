"""The rows of a shard set's public formats: Parquet with pyarrow, WebDataset tars with tarfile."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.shards.manifest import SetManifest

ROWS_AT_ONCE = 32  # of a Parquet file
NUMBER = re.compile(r"-\d+(-of-\d+)?$")  # what stands behind the split in a shard's name


def split_files(folder: Path, split: str) -> list[Path]:
    """The Parquet files of a split, or its tars, compared with the set's manifest.json where it has one.

    Raises:
        PipelineError: there are neither.
        BuildError: they differ from what was written.
    """
    manifest = SetManifest(folder) if (folder / "manifest.json").exists() else None
    there = set()
    for pattern in ("parquet/*.parquet", "wds/*.tar"):
        found = sorted(folder.glob(pattern)) if manifest is None else manifest.files(pattern)
        splits = {path: NUMBER.sub("", path.stem) for path in found}
        if files := [path for path, name in splits.items() if name == split]:
            if manifest is not None:
                manifest.check(*files)
            return files
        there |= set(splits.values())
    raise PipelineError(
        f"{folder} has no split '{split}' in Parquet files or tars, but {', '.join(sorted(there)) or 'none'}: "
        f"choose another, or run `pipeline shard` with --format webdataset,parquet"
    )


def parquet_rows(path: Path, latents: bool) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, w+ among them if asked for."""
    file = pq.ParquetFile(path)
    wanted = ["image", "label", "id", "kind", "variant", "soft_label", *(["w"] if latents else [])]
    present = [name for name in wanted if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=present):
        w = to_latents(batch.column("w")) if "w" in present else None
        others = batch.select([name for name in present if name != "w"]).to_pylist()
        for place, row in enumerate(others):
            yield {**row, "image": row["image"]["bytes"], "w": None if w is None else w[place]}


def to_latents(column: pa.Array) -> NDArray[np.float32]:
    """Nested lists of fixed lengths as [N, num_ws, w_dim]."""
    layers, channels = column.type.list_size, column.type.value_type.list_size
    values: NDArray[np.float32] = column.flatten().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), layers, channels)


def tar_rows(path: Path, latents: bool) -> Iterator[dict[str, Any]]:
    """Samples of a WebDataset tar: adjacent members that share what is before the first dot."""
    with tarfile.open(path) as tar:
        row: dict[str, Any] = {}
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if row and key != row["key"]:
                yield row
                row = {}
            row["key"] = key
            file = tar.extractfile(member)
            assert file is not None
            if suffix == "png":
                row["image"] = file.read()
            elif suffix == "json":
                row |= json.loads(file.read())
            elif suffix == "w.npy" and latents:
                row["w"] = np.load(io.BytesIO(file.read()), allow_pickle=False)
        if row:
            yield row


ROWS = {".parquet": parquet_rows, ".tar": tar_rows}


def count_rows(files: list[Path]) -> int:
    """Samples in the files of a split, as their indexes say."""
    if files[0].suffix == ".parquet":
        return sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    folder = files[0].parent
    if (folder.parent / "manifest.json").exists():
        SetManifest(folder.parent).check(folder / "sizes.json")
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    return sum(int(sizes[path.name]) for path in files)


def class_names(file: Path) -> tuple[str, ...]:
    """Classes of a set as its Parquet files name them; empty where only the labels could tell."""
    if file.suffix != ".parquet":
        return ()
    metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return tuple(map(str, features.get("label", {}).get("names", [])))
