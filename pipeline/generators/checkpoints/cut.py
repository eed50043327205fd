"""Says of files that end too early how many bytes are there, and how many there should be."""

import json
import struct

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.tensors import storage_reference

MAX_HEADER = 100_000_000  # as the safetensors library has it
LOCAL_HEADER = 30  # bytes before a member's name in a zip


def cut(there: int, announced: int | None = None) -> str:
    """Say that a file is cut short."""
    if announced is None or announced <= there:
        return f"it is cut short: {there:,} bytes are there, and its end is missing; download it again"
    return f"it is cut short: {there:,} bytes are there of at least {announced:,}; download it again"


def cut_safetensors(buffer: memoryview) -> str | None:
    """Say so where a file begins like safetensors and ends before its header says."""
    if len(buffer) < 9 or bytes(buffer[8:9]) != b"{":
        return None
    (length,) = struct.unpack("<Q", buffer[:8])
    if not 1 < length <= MAX_HEADER:
        return None
    if 8 + length > len(buffer):
        return cut(len(buffer), 8 + length)
    try:
        header = json.loads(bytes(buffer[8 : 8 + length]))
        ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
        return None
    if not all(isinstance(end, int) for end in ends):
        return None
    announced = 8 + length + max(ends, default=0)
    return cut(len(buffer), announced) if announced > len(buffer) else None


def cut_torch_zip(buffer: memoryview) -> str:
    """Say of a zip without its directory, which stands at the end, what the list of tensors at its start tells."""
    announced = None
    try:
        names, extra = struct.unpack("<HH", buffer[LOCAL_HEADER - 4 : LOCAL_HEADER])
        name = bytes(buffer[LOCAL_HEADER : LOCAL_HEADER + names])
        if not name.endswith(b"/data.pkl"):
            return cut(len(buffer))
        machine = Machine(buffer, LOCAL_HEADER + names + extra)
        machine.run()
        storages = {key: count * dtype.itemsize for dtype, key, count in map(storage_reference, machine.persistent)}
        announced = machine.position + sum(storages.values())
    except (CheckpointError, struct.error):
        pass  # the list itself is cut
    return cut(len(buffer), announced)
