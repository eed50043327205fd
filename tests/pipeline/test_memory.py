"""Out of memory, on any device: half as many, down to one, then a sentence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.memory import OutOfMemoryError, available_memory, halved, in_batches, is_out_of_memory, memory_share

SHORT = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("not enough memory: you tried to allocate 4294967296 bytes."),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
)


def test_what_lack_of_memory_looks_like() -> None:
    assert all(is_out_of_memory(error) for error in SHORT)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError("not enough memory"))


def test_pytorch_says_it_like_that() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@given(count=st.integers(0, 40), size=st.integers(1, 40), room=st.integers(1, 40))
def test_batches_cover_everything_and_fit(count: int, size: int, room: int) -> None:
    largest = 0

    def compute(rows: slice) -> list[int]:
        nonlocal largest
        if rows.stop - rows.start > room:
            raise SHORT[rows.start % 4]
        largest = max(largest, rows.stop - rows.start)
        return list(range(rows.start, rows.stop))

    made = in_batches(count, size, compute)
    assert [row for part in made for row in part] == list(range(count))
    assert largest <= min(size, room)
    if room >= size and count:
        assert [len(part) for part in made] == [len(p) for p in np.array_split(np.arange(count), -(-count // size))]


def test_one_too_many_is_a_sentence_and_another_error_stays_itself() -> None:
    def never(size: int) -> None:
        raise SHORT[1]

    def broken(size: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(OutOfMemoryError, match="one image alone"):
        halved(8, never)
    with pytest.raises(RuntimeError, match="shapes"):
        halved(8, broken)


def test_a_process_knows_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.delenv("ONMANIFOLD_MEMORY", raising=False)
    assert 0 < memory_share(cpu) <= available_memory() * 1.5
    monkeypatch.setenv("ONMANIFOLD_MEMORY", "12345")
    assert memory_share(cpu) == 12345
