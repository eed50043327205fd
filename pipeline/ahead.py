"""Work on the next item while the last one is used."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The items in order, each made in a thread of its own while the caller is busy with the one before."""
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(take, iterator)
        while item := coming.result():
            coming = thread.submit(take, iterator)
            yield item[0]


def take(iterator: Iterator[T]) -> tuple[T] | None:
    """The next item, or None where there is none."""
    for item in iterator:
        return (item,)
    return None
