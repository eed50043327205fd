"""Working ahead changes nothing but when."""

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.ahead import ahead


def test_items_come_in_order_from_another_thread() -> None:
    threads = []

    def items() -> Iterator[int]:
        for i in range(20):
            threads.append(threading.get_ident())
            yield i

    assert list(ahead(items())) == list(range(20))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    for item in ahead(items()):
        if item == 0:
            assert made.wait(timeout=10)


def test_no_more_than_one_item_is_made_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    coming = ahead(items())
    next(coming)
    time.sleep(0.05)
    assert made == [0, 1]
    coming.close()


def test_an_error_reaches_the_caller_where_it_stands() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("broken")

    coming = ahead(items())
    assert next(coming) == 0
    with pytest.raises(ValueError, match="broken"):
        next(coming)
