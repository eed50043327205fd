"""WebDataset tars: `ID.png`, `ID.cls`, `ID.json`, `ID.w.npy` and `ID.original.png`, adjacent, in this order.

USTAR headers with fixed times and owners make a tar the same bytes from run to run (and DALI reads no others).
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipeline.files import atomic_write, write_bytes
from pipeline.shards.base import Layout, Put, ShardFile, ShardInfo, ShardSample


class WebDataset:
    """Writer of `wds/SPLIT-000000.tar`."""

    folder = "wds"
    indexes: ClassVar[tuple[str, ...]] = ("_info.json", "sizes.json")
    layout: ClassVar[Layout] = "shuffled"

    def check(self, info: ShardInfo) -> None:
        """It holds any set."""

    def file_name(self, split: str, index: int, count: int) -> str:
        """Numbered from 000000 without gaps, as brace expansion wants."""
        return f"{split}-{index:06d}.tar"

    @contextmanager
    def writing(self, path: Path, count: int, info: ShardInfo) -> Iterator[Put]:
        """Begin a tar."""
        with atomic_write(path) as file:

            def put(samples: Sequence[ShardSample]) -> None:
                for sample in samples:
                    _ = sample.image, sample.original  # a sample keeps both once they are asked for
                for sample in samples:
                    parts: list[bytes] = []
                    for suffix, data in members(sample):
                        header = tar_header(f"{sample.id}.{suffix}", len(data))
                        parts += (header, data, PADDING[: -len(data) % BLOCKSIZE])
                    file.write(b"".join(parts))

            yield put
            file.write(bytes(2 * BLOCKSIZE))
            file.write(bytes(-file.tell() % tarfile.RECORDSIZE))

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> None:
        """Write timm's `_info.json` and open_clip's `sizes.json`."""
        splits: dict[str, dict[str, object]] = {}
        for name in dict.fromkeys(file.split for file in files):
            shards = [file for file in files if file.split == name]
            splits[name] = {
                "name": name,
                "num_samples": sum(file.samples for file in shards),
                "filenames": [Path(file.path).name for file in shards],
                "shard_lengths": [file.samples for file in shards],
            }
        sizes = {Path(file.path).name: file.samples for file in files}
        for name, content in (("_info.json", {"splits": splits}), ("sizes.json", sizes)):
            write_bytes(folder / name, (json.dumps(content, indent=1) + "\n").encode())


def tar_header(name: str, size: int) -> bytes:
    """The header of a file in a tar: as `tarfile` writes it, in a tenth of the time.

    Raises:
        ValueError: the name does not fit into a USTAR header.
    """
    raw = name.encode()
    if len(raw) > tarfile.LENGTH_NAME:
        return plain_header(name, size)
    length = b"%011o\0" % size
    checksum = b"%06o\0" % (BLANK_SUM + sum(raw) + sum(length))
    return b"".join((raw.ljust(tarfile.LENGTH_NAME, b"\0"), BEFORE_SIZE, length, BEFORE_SUM, checksum, AFTER_SUM))


def plain_header(name: str, size: int) -> bytes:
    """The same by `tarfile`."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


BLOCKSIZE = tarfile.BLOCKSIZE
PADDING = bytes(BLOCKSIZE)
SIZE_AT, SUM_AT = slice(124, 136), slice(148, 155)  # where a header has what differs, besides the name
BLANK_HEADER = plain_header("", 0)
BLANK_SUM = sum(BLANK_HEADER) - sum(BLANK_HEADER[SIZE_AT]) - sum(BLANK_HEADER[SUM_AT]) + 7 * ord(" ")
BEFORE_SIZE = BLANK_HEADER[tarfile.LENGTH_NAME : SIZE_AT.start]
BEFORE_SUM, AFTER_SUM = BLANK_HEADER[SIZE_AT.stop : SUM_AT.start], BLANK_HEADER[SUM_AT.stop :]


def members(sample: ShardSample) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of each file of a sample. The JSON has the same keys and types in every sample."""
    yield "png", sample.image
    yield "cls", str(sample.label).encode()
    facts: dict[str, object] = {
        "id": sample.id,
        "label": sample.label,
        "class": sample.class_name,
        "source": sample.source,
        "kind": sample.kind,
        "partner": sample.partner,
        "variant": sample.variant,
    }
    if sample.soft_label is not None:
        facts |= {"soft_label": sample.soft_label.tolist(), "lam": sample.lam}
    yield "json", json.dumps(facts).encode()
    if sample.latent is not None:
        latent = np.ascontiguousarray(sample.latent)
        yield "w.npy", npy_header(latent.dtype.str, latent.shape) + latent.tobytes()
    if sample.original is not None:
        yield "original.png", sample.original


@lru_cache(maxsize=8)
def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What a .npy file of an array begins with."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
