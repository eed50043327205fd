"""MNIST's IDX files, gzipped or not (LeCun et al., 1998)."""

import gzip
import math
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError

UNSIGNED_BYTES = 0x08
FOLDERS = ("", "raw/", "MNIST/raw/")  # as published; as torchvision unpacks it
HEADER = 4 + 4 * 255  # with as many dimensions as it can have
DEFLATE_RATIO = 1032  # gzip makes no file smaller than that
MOST_BYTES = 2**31  # three times the largest relative of MNIST (EMNIST, 814,255 digits)


def idx_path(root: Path, part: str, kind: str, rank: int) -> Path | None:
    """Path of e.g. train-images-idx3-ubyte, under any of its names; Kaggle's is in a folder of its name."""
    names = (f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte")
    places = (root / f"{d}{name}{end}" for d in FOLDERS for name in names for end in ("", ".gz"))
    found = next((place for place in places if place.exists()), None)
    return found / found.name if found is not None and (found / found.name).is_file() else found


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, read-only.

    Raises:
        DatasetError: it is something else, damaged, or cut short.
    """
    try:
        found = path.stat()
        return _read_idx(path, (found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(f"{path} cannot be read: {reason}; download it again") from error


@lru_cache(maxsize=4)
def _read_idx(path: Path, state: tuple[int, ...]) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _array(path, file, state[0])
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _array(path, cast(BinaryIO, unzipped), DEFLATE_RATIO * state[0])


def _array(path: Path, file: BinaryIO, most: int) -> NDArray[np.uint8]:
    """Read an array from a file of `most` bytes at most. It reads a byte more than the header declares, at most."""
    head = file.read(HEADER)
    zeros, kind, rank = struct.unpack_from(">HBB", head)
    if zeros != 0 or kind != UNSIGNED_BYTES:
        raise DatasetError(f"{path} is not an IDX file of unsigned bytes; download it again")
    start = 4 + 4 * rank
    shape = struct.unpack_from(f">{rank}I", head, 4)
    count = math.prod(shape)
    if count > MOST_BYTES:
        raise DatasetError(f"{path} is damaged: it says that it holds {count} bytes; download it again")
    data = head[start:]
    data += file.read(max(0, min(count, most - start) - len(data)))
    if len(data) > count or file.read(1):
        raise DatasetError(f"{path} holds more than the {count} bytes that it says; download it again")
    if len(data) < count:
        raise DatasetError(f"{path} holds {len(data)} bytes instead of {count}; download it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
