"""MNIST's IDX files, gzipped or not (LeCun et al., 1998)."""

import gzip
import math
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.files import first_there
from pipeline.errors import DatasetError

UNSIGNED_BYTES = 0x08
FOLDERS = ("", "raw/", "MNIST/raw/")  # as published; as torchvision unpacks it


def idx_path(root: Path, part: str, kind: str, rank: int) -> Path | None:
    """Path of e.g. train-images-idx3-ubyte, under any of the names it goes by."""
    names = (f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte")
    return first_there(root, tuple(f"{d}{name}{end}" for d in FOLDERS for name in names for end in ("", ".gz")))


@lru_cache(maxsize=4)
def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, read-only.

    Raises:
        DatasetError: it is something else, or cut short.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        zeros, kind, rank = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{rank}I", data, 4)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}; download it again") from error
    if zeros != 0 or kind != UNSIGNED_BYTES:
        raise DatasetError(f"{path} is not an IDX file of unsigned bytes; download it again")
    start = 4 + 4 * rank
    if len(data) - start != math.prod(shape):
        raise DatasetError(
            f"{path} holds {len(data) - start} bytes instead of {math.prod(shape)}; download it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
