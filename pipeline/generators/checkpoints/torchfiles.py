"""The containers of `torch.save`, the zip of today and the stream of before 1.6, opened without unpickling."""

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.cut import LOCAL_HEADER, cut_torch_zip
from pipeline.generators.checkpoints.other_files import other_zip
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.tensors import storage_reference

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
END_OF_ZIP, MAX_END = b"PK\x05\x06", 2**16 + 22  # what begins a zip's last record, and where at the latest


@dataclass(frozen=True)
class TorchFile:
    """What a torch file holds: records, and the bytes of its storages by their keys."""

    content: Any
    storages: Mapping[str, memoryview]


def read_legacy(buffer: memoryview) -> TorchFile:
    """Read the old format: magic number, version, system, content and keys as pickles, then the storages.

    Raises:
        CheckpointError: it is damaged or cut short.
    """
    position, parts, references = 0, [], []
    for _ in range(5):
        machine = Machine(buffer, position)
        parts.append(machine.run())
        position = machine.position
        references += machine.persistent
    magic, version, system, content, keys = parts
    if magic != LEGACY_MAGIC or version != LEGACY_VERSION or not isinstance(system, dict):
        raise CheckpointError("it is damaged: it begins like a torch file and goes on otherwise")
    if not system.get("little_endian", True):
        raise CheckpointError("it was written on a big-endian machine: save it again on another one")
    dtypes = {key: dtype for dtype, key, _ in map(storage_reference, references)}
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in dtypes for key in keys):
        raise CheckpointError("it is damaged: its list of storages is not one")
    storages = {}
    for key in keys:
        if len(buffer) - position < 8:
            raise CheckpointError("it is cut short: a storage is missing")
        (count,) = struct.unpack("<q", buffer[position : position + 8])
        start, size = position + 8, count * dtypes[key].itemsize
        position = start + size
        if count < 0 or position > len(buffer):
            raise CheckpointError(f"it is cut short: a storage of {size:,} bytes is announced, but not there")
        storages[key] = buffer[start:position]
    return TorchFile(content, storages)


def read_zip(buffer: memoryview) -> TorchFile:
    """Read the zip format: NAME/data.pkl, and a member NAME/data/KEY for each storage.

    Raises:
        CheckpointError: it is damaged, compressed, or no file of torch's.
    """
    try:
        with zipfile.ZipFile(View(buffer)) as archive:
            names = archive.namelist()
            members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    # What zipfile raises over damaged directories is more than it documents.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, OSError) as error:
        if END_OF_ZIP not in bytes(buffer[-MAX_END:]):
            raise CheckpointError(cut_torch_zip(buffer)) from error
        raise CheckpointError(f"it is damaged: {error or 'no readable zip directory'}") from error
    if "data.pkl" not in members:
        raise CheckpointError(other_zip(names))
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise CheckpointError("it is a TorchScript program: save the network's state_dict() instead")
    if "byteorder" in members and bytes(member(buffer, members["byteorder"])) != b"little":
        raise CheckpointError("it was written on a big-endian machine: save it again on another one")
    machine = Machine(member(buffer, members["data.pkl"]))
    content = machine.run()
    storages = {}
    for _, key, _ in map(storage_reference, machine.persistent):
        if key not in storages and f"data/{key}" in members:
            storages[key] = member(buffer, members[f"data/{key}"])
    return TorchFile(content, storages)


def member(buffer: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """View a member's bytes, which torch stores uncompressed."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise CheckpointError("it is compressed, which torch's own files are not: unpack it, or save it again")
    at = info.header_offset
    header = buffer[at : at + LOCAL_HEADER] if at >= 0 else memoryview(b"")
    if len(header) < LOCAL_HEADER or bytes(header[:4]) != b"PK\x03\x04":
        raise CheckpointError("it is damaged: a member is not where the directory says")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start = at + LOCAL_HEADER + name_length + extra_length
    if start + info.file_size > len(buffer):
        raise CheckpointError("it is cut short: a member ends after the file")
    return buffer[start : start + info.file_size]


class View(io.RawIOBase):
    """A buffer as a file for `zipfile`, which only looks at the directory with it."""

    def __init__(self, buffer: memoryview):
        super().__init__()
        self.buffer, self.at = buffer, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: len(self.buffer)}[whence]
        if self.at < 0:
            raise OSError("a place before the beginning")
        return self.at

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes. No torch file has a directory of over 16 MiB."""
        end = len(self.buffer) if size < 0 else self.at + size
        data = self.buffer[self.at : end]
        if len(data) > 2**24:
            raise OSError("its directory is larger than any of torch's")
        self.at += len(data)
        return bytes(data)
