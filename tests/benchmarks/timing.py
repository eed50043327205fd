"""What a benchmark returns, and how a call is timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One line of the table and of benchmarks.json.

    Attributes:
        ratio: how many times better ours is than the other, unless `unit` says that it is something else.
        quality: what both reached, where that is not the same by construction.
        settings: what it was measured with.
    """

    name: str
    ratio: float
    ours: str
    other: str
    unit: str = "times"
    quality: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
