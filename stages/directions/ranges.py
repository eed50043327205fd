"""Ranges of layers j-k that edits are scored in."""

import re

from pipeline.directions import Range
from pipeline.errors import PipelineError


def choose_ranges(text: str | None, layers: tuple[int, ...], fine_layers: tuple[int, ...]) -> list[Range]:
    """Ranges asked for as `0-4,5-7`; by default the runs of coarse layers, those of fine ones, and all.

    Args:
        layers: 0-based layers that the directions belong to.
        fine_layers: layers that carry no label.

    Raises:
        PipelineError: a range is no range, or leaves those layers.
    """
    if text is not None:
        return list(dict.fromkeys(parse_range(part, layers) for part in text.split(",")))
    coarse = runs([layer for layer in layers if layer not in fine_layers])
    fine = runs([layer for layer in layers if layer in fine_layers])
    return list(dict.fromkeys([*coarse, *fine, *runs(list(layers))]))


def parse_range(text: str, layers: tuple[int, ...]) -> Range:
    """Read `j-k`, or `j` for a single layer."""
    found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
    if first > last or not set(range(first, last + 1)) <= set(layers):
        known = ", ".join(f"{a}-{b}" for a, b in runs(list(layers)))
        raise PipelineError(f"--ranges {text}: give ranges like 0-2,5 within the layers {known}")
    return first, last


def runs(layers: list[int]) -> list[Range]:
    """Cut ascending layers into runs without gaps, as (first, last)."""
    found: list[Range] = []
    for layer in layers:
        if found and found[-1][1] == layer - 1:
            found[-1] = (found[-1][0], layer)
        else:
            found.append((layer, layer))
    return found
