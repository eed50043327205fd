"""Even shares: they add up, nobody gets more than there is, nobody is favoured."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.balance import even_shares

SIZES = st.lists(st.integers(0, 300), min_size=1, max_size=8)


@given(SIZES, st.integers(0, 2000))
def test_shares_are_as_even_as_can_be(sizes: list[int], total: int) -> None:
    shares = even_shares(sizes, total)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    largest = max(shares)
    for share, size in zip(shares, sizes, strict=True):
        assert share == size or share >= largest - 1


def test_the_earlier_get_the_odd_ones() -> None:
    assert even_shares([9, 2, 9, 9], 15) == [5, 2, 4, 4]
