"""From the records of a pickled numpy array to its numbers, checked against the bytes that are really there."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.records import Call, Global

NUMBERS = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
MAX_DIMENSIONS = 8


def is_array(record: object) -> bool:
    """Tell whether a record stands for an array or for a number of numpy's."""
    return isinstance(record, Call) and record.function.startswith("numpy.") and record.function != "numpy.dtype"


def to_array(record: object) -> NDArray[Any]:
    """Make the array that a record stands for; it shares the bytes of the file.

    Raises:
        CheckpointError: it is no array of plain numbers, or its shape claims other than the bytes that are there.
    """
    if not isinstance(record, Call):
        raise CheckpointError("it is damaged: an array is expected where something else is")
    try:
        data, dtype, shape, axes = LAYOUTS[record.function.rpartition(".")[2]](record)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError("it is damaged: an array is not written as numpy writes one") from error
    sizes = check_shape(shape)
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise CheckpointError(f"it is damaged: an array of shape {list(sizes)} has {len(data):,} bytes")
    if axes == "F":
        return np.frombuffer(data, dtype).reshape(sizes, order="F")
    axes = check_shape(range(len(sizes)) if axes == "C" else axes)
    if sorted(axes) != list(range(len(sizes))):
        raise CheckpointError("it is damaged: an array's axes are in no order")
    return np.frombuffer(data, dtype).reshape(sizes).transpose(axes)


# bytes, dtype, shape, and how the axes lie in memory: "C", "F", or by which to transpose afterwards
Layout = tuple[memoryview | bytes, np.dtype[Any], object, object]


def reconstructed(record: Call) -> Layout:
    """Read an array as pickle protocols up to 4 hold it: made empty, then given its state."""
    _, shape, dtype, fortran, data = record.state
    numbers = to_dtype(dtype)
    return to_bytes(data), numbers, shape, "F" if fortran else "C"


def from_buffer(record: Call) -> Layout:
    """Read an array as protocol 5 holds it."""
    data, dtype, shape, order, *axes = record.arguments
    numbers = to_dtype(dtype)
    return to_bytes(data), numbers, shape, axes[0] if order == "K" and axes else order


def scalar(record: Call) -> Layout:
    """Read a single number."""
    dtype, data = record.arguments
    numbers = to_dtype(dtype)
    return to_bytes(data), numbers, (), "C"


LAYOUTS = {"_reconstruct": reconstructed, "_frombuffer": from_buffer, "scalar": scalar}


def to_dtype(record: object) -> np.dtype[Any]:
    """Make a dtype of plain numbers. Raises CheckpointError for objects, records, text and times."""
    code = record.arguments[0] if isinstance(record, Call) and record.function == "numpy.dtype" else None
    if not isinstance(record, Call) or not isinstance(code, str) or code not in NUMBERS:
        raise CheckpointError("it holds an array of something else than plain numbers")
    order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else "<"
    return np.dtype(code).newbyteorder(">" if order == ">" else "<")


def to_bytes(value: object) -> memoryview | bytes:
    """Give bytes, or what a pickle of protocol 2 has in their place: text in which a character is a byte.

    Raises:
        CheckpointError: it is something else.
    """
    if isinstance(value, memoryview):
        return value
    if isinstance(value, Call) and value.function == "_codecs.encode" and value.arguments[1:] == ("latin1",):
        value = value.arguments[0]
    if isinstance(value, str):
        try:
            return value.encode("latin1")
        except UnicodeEncodeError as error:
            raise CheckpointError("it is damaged: bytes are written as text that is none") from error
    raise CheckpointError("it is damaged: bytes are expected where something else is")


def check_shape(shape: object) -> tuple[int, ...]:
    """Return a shape if it is one."""
    if isinstance(shape, Global) or not isinstance(shape, tuple | list | range) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError("it is damaged: a shape is expected where something else is")
    if not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape):
        raise CheckpointError("it is damaged: a shape holds something else than sizes")
    return tuple(shape)
