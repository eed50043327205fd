"""From the records of a pickled torch tensor to a tensor that shares the bytes of the file."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.arrays import check_shape, to_bytes
from pipeline.generators.checkpoints.records import Call, Global, Persistent

DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
TENSORS = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"})
PARAMETERS = frozenset({"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})
# A small buffer may be stored as one number repeated; anything larger must be there in full.
MAX_REPEATED = 2**20


def is_tensor(record: object) -> bool:
    """Tell whether a record stands for a tensor or a parameter."""
    return isinstance(record, Call) and record.function in TENSORS | PARAMETERS


class Tensors:
    """Makes tensors of records. `storages` holds the bytes of a torch file's storages by their keys."""

    def __init__(self, storages: Mapping[str, memoryview] | None = None):
        self.storages = storages or {}
        self.opened: dict[int, Tensor] = {}

    def tensor(self, record: object) -> Tensor:
        """Make the tensor that a record stands for.

        Raises:
            CheckpointError: it is none, or it reaches beyond its storage.
        """
        for _ in range(3):
            if isinstance(record, Call) and record.function in PARAMETERS and record.arguments:
                record = record.arguments[0]
        if not isinstance(record, Call) or record.function not in TENSORS or len(record.arguments) < 4:
            raise CheckpointError("it is damaged: a tensor is expected where something else is")
        storage = self.storage(record.arguments[0])
        offset, *extent = record.arguments[1:4]
        size, stride = map(check_shape, extent)
        if not isinstance(offset, int) or offset < 0 or len(size) != len(stride):
            raise CheckpointError("it is damaged: a tensor's shape and strides do not fit")
        count, reach = math.prod(size), sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (offset + reach >= len(storage) or count > max(len(storage), MAX_REPEATED)):
            raise CheckpointError(f"it is damaged: a tensor of shape {list(size)} reaches beyond its storage")
        return storage.as_strided(size, stride, offset) if count else storage.new_empty(size)

    def storage(self, record: object) -> Tensor:
        """Make the flat tensor of a storage; the same storage is opened once."""
        if id(record) not in self.opened:
            if isinstance(record, Call) and record.function == "torch.storage._load_from_bytes":
                self.opened[id(record)] = nested_storage(record)
            else:
                dtype, key, _ = storage_reference(record)
                if key not in self.storages:
                    raise CheckpointError("it is damaged: a tensor's storage is not in the file")
                self.opened[id(record)] = flat(self.storages[key], dtype)
        return self.opened[id(record)]


def storage_reference(record: object) -> tuple[torch.dtype, str, int]:
    """Return dtype, key and number of elements of a reference to a storage."""
    parts = record.id if isinstance(record, Persistent) else None
    if not isinstance(parts, tuple) or len(parts) < 5 or parts[0] != "storage":
        raise CheckpointError("it is damaged: a storage is expected where something else is")
    kind, key, count = parts[1], parts[2], parts[4]
    if not isinstance(kind, Global) or kind.name not in DTYPES or not isinstance(key, str):
        raise CheckpointError("it is damaged: a storage of no known type")
    if not isinstance(count, int) or count < 0 or (len(parts) > 5 and parts[5] is not None):
        raise CheckpointError("it is damaged: a storage of no known size")
    return DTYPES[kind.name], key, count


def flat(data: memoryview | bytes, dtype: torch.dtype) -> Tensor:
    """View bytes as a tensor [N] of this type."""
    if not len(data):
        return torch.empty(0, dtype=dtype)
    if len(data) % dtype.itemsize:
        raise CheckpointError("it is damaged: a storage ends in the middle of a number")
    # What is not the file itself (text that stands for bytes) is read-only, which torch warns of.
    return torch.frombuffer(bytearray(data) if isinstance(data, bytes) or data.readonly else data, dtype=dtype)


def nested_storage(record: Call) -> Tensor:
    """Open a storage that was pickled on its own, as a little torch file within the pickle."""
    from pipeline.generators.checkpoints.torchfiles import read_legacy

    data: Any = to_bytes(record.arguments[0]) if record.arguments else b""
    inner = read_legacy(memoryview(data))
    dtype, key, _ = storage_reference(inner.content)
    return flat(inner.storages[key], dtype)
