"""Where in a checkpoint a generator may be: all named tensors, at whatever depth and under whatever prefix.

`{"netG": {"b4.const": …}}` and `{"netG.b4.const": …}` are the same here: a tensor's key is its path, joined by
dots, and a place is a prefix of such paths, which ends with a dot or is empty.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import CheckpointError

MAX_DEPTH = 8
# A large checkpoint with two networks and their optimizers has about ten thousand.
MAX_ENTRIES = 300_000

# Where the well-known programs put a generator.
USUAL = frozenset({"", "g_ema.", "g.", "G_ema.", "Gs."})
# Words in names of averaged weights: g_ema, generator_smooth, ema_model, G_running, netG_avg, generatorEMA, Gs.
AVERAGED = re.compile(
    r"(?<![a-z])(ema|avg|average|averaged|smooth|running|shadow|swa)(?![a-z])|Ema(?![a-z])|EMA|(?<![A-Za-z])Gs(?![a-z])",
)
# Names of networks that are no generator, though they may look like one.
OTHERS = re.compile(r"(net_?)?d(_.*)?|.*disc(riminator)?s?|critic|(net_?)?e|encoder", re.IGNORECASE)


@dataclass
class Contents:
    """What a file holds, flat.

    Attributes:
        tensors: every named tensor (or the record of one) by its whole key.
        networks: networks that were saved as a whole, by their places.
        nameless: places of lists of tensors without names, as averages are sometimes kept.
    """

    tensors: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)
    nameless: list[str] = field(default_factory=list)


def gather(content: Any, is_tensor: Callable[[object], bool], is_network: Callable[[object], bool]) -> Contents:
    """Collect the named tensors and whole networks of nested containers; what is shared is taken once.

    Raises:
        CheckpointError: it holds far more than any checkpoint does.
    """
    found, seen = Contents(), set[int]()
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    entries = 0
    while waiting:
        place, value, depth = waiting.pop()
        entries += 1
        if entries > MAX_ENTRIES:
            raise CheckpointError(f"it is damaged or hostile: it holds more than {MAX_ENTRIES:,} things")
        if is_tensor(value):
            found.tensors.setdefault(place.removesuffix("."), value)
        elif is_network(value):
            found.networks.setdefault(place, value)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen and depth <= MAX_DEPTH:
            seen.add(id(value))
            if not isinstance(value, dict) and value and all(map(is_tensor, value)):
                found.nameless.append(place)
            else:
                named = [(f"{place}{name}.", inner, depth + 1) for name, inner in named_items(value, is_network)]
                waiting += reversed(named)
    return found


def named_items(container: Any, is_network: Callable[[object], bool]) -> Iterable[tuple[Any, Any]]:
    """Name what a container holds; the three networks of a TensorFlow pickle are G, D and Gs."""
    if isinstance(container, dict):
        return container.items()
    if len(container) == 3 and all(map(is_network, container)):
        return zip(("G", "D", "Gs"), container, strict=True)
    return enumerate(container)


def places_of(tensors: Iterable[str], marks: Sequence[str]) -> list[str]:
    """Return the prefixes under which all of `marks` are keys, in the order of the file."""
    keys = set(tensors)
    first, *others = marks
    ends = f".{first}"
    starts = [key.removesuffix(first) for key in tensors if key == first or key.endswith(ends)]
    return [start for start in starts if all(start + mark in keys for mark in others)]


def rank(place: str) -> int:
    """0 for averaged weights, 1 for others, 2 for what is named like another network than a generator."""
    names = place.split(".")
    if any(OTHERS.fullmatch(name) for name in names):
        return 2
    return 0 if any(AVERAGED.search(name) for name in names) else 1


def best(places: Sequence[str]) -> str:
    """Choose one of several places: the averaged weights.

    Raises:
        CheckpointError: two are as good.
    """
    ranks = {place: rank(place) for place in dict.fromkeys(places)}
    first = [place for place, value in ranks.items() if value == min(ranks.values())]
    if len(first) > 1:
        shown = " and ".join(f"'{shown_place(place)}'" for place in first[:3])
        raise CheckpointError(f"it holds several generators, at {shown}: save a file with the one you mean")
    return first[0]


def shown_place(place: str) -> str:
    """Name a place for people."""
    return place.removesuffix(".")[:80] or "the top"


def above(place: str) -> list[str]:
    """Return a place and all that lie around it, the innermost first: 'a.b.' gives 'a.b.', 'a.' and ''."""
    names = place.split(".")[:-1]
    return ["".join(f"{name}." for name in names[:count]) for count in range(len(names), -1, -1)]


def place_notes(place: str, places: Sequence[str]) -> tuple[str, ...]:
    """Say where the generator was found, unless that is the usual place and the only one."""
    others = [other for other in dict.fromkeys(places) if other != place]
    if place in USUAL and not others:
        return ()
    passed = f", not from '{shown_place(others[0])}'" if others else ""
    more = f" or {len(others) - 1} more" if len(others) > 1 else ""
    return (f"the generator was taken from '{shown_place(place)}'{passed}{more}",)
