"""How many to take of each kind, so that a total is shared as evenly as the kinds allow."""

from collections.abc import Sequence


def even_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Share `total` among kinds of which there are `sizes`: no kind gets more than it has, none is favoured.

    The shares add up to min(total, sum(sizes)); two kinds that are not exhausted differ by at most one, and the
    earlier of them gets the odd one.
    """
    left = min(total, sum(sizes))
    shares = [0] * len(sizes)
    open_kinds = sorted(range(len(sizes)), key=lambda kind: sizes[kind])
    while open_kinds:
        kind = open_kinds[0]
        fair = left // len(open_kinds)
        if sizes[kind] <= fair:
            shares[kind] = sizes[kind]
            left -= sizes[kind]
            open_kinds.pop(0)
            continue
        for place, other in enumerate(sorted(open_kinds)):
            shares[other] = fair + (place < left % len(open_kinds))
        break
    return shares
