"""Pictures of edits: a row for each sample, from three deviations back to three ahead."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.directions import Directions, Range
from pipeline.files import write_bytes
from pipeline.generators import Generator
from pipeline.images import Pixels, encode_png, grid, to_uint8
from pipeline.progress import Progress
from stages.directions.scoring import Scored

STEPS = (-3, -2, -1, 0, 1, 2, 3)
SMALLEST, LARGEST = 64, 256  # pixels of a shown image's edge
GAP = 2


@torch.inference_mode()
def strip(
    directions: Directions, generator: Generator, scored: Scored, axis: int, layers: Range, batch_size: int
) -> Pixels:
    """Images of samples moved by each of STEPS: one sheet uint8 [H, W, 3], a row for each sample."""
    rows = []
    for places in torch.arange(len(scored.w), device=scored.w.device).split(batch_size):
        some = scored.at(places)
        columns = [shown(some.edited(directions, axis, layers, float(r), generator)) for r in STEPS]
        rows.append(np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:]))
    return grid(np.concatenate(rows), columns=len(STEPS), gap=GAP)


def shown(images: Tensor) -> Pixels:
    """Images [B, 3, H, W] as uint8 [B, h, w, 3] of a size to look at."""
    size = images.shape[-1]
    if size > LARGEST:
        return to_uint8(F.adaptive_avg_pool2d(images, LARGEST))
    scale = -(-SMALLEST // size)
    return to_uint8(images).repeat(scale, axis=1).repeat(scale, axis=2)


def pictures_of(folder: Path, directions: Directions) -> dict[tuple[int, Range], Path]:
    """Where the picture of each axis and range lies: u00_5-7.png and so on."""
    edits = [(axis, layers) for axis in range(len(directions.axes)) for layers in directions.ranges]
    return {(axis, layers): folder / f"u{axis:02d}_{layers[0]}-{layers[1]}.png" for axis, layers in edits}


def write_strips(
    folder: Path, directions: Directions, generator: Generator, scored: Scored, batch_size: int
) -> list[Path]:
    """Write the picture of each axis and range, `batch_size` rows at once; return where they are."""
    pictures = pictures_of(folder, directions)
    with Progress("directions, pictures", len(pictures), "pictures") as progress:
        for (axis, layers), path in pictures.items():
            sheet = strip(directions, generator, scored, axis, layers, batch_size)
            write_bytes(path, encode_png(sheet))
            progress.advance(1)
    return list(pictures.values())
