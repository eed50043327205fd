"""The HDF5 layout of OM-ImageNet's authors, which their trainer reads: `SPLIT/LABEL.h5`.

Each file holds `images` float32 [N, 3, H, W] in [-1, 1] and `latents` float32 [N, num_ws, w_dim]. Their loader
takes the label from the first character of the file's name, so there are ten classes at most.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from pipeline.errors import PipelineError
from pipeline.files import atomic_write
from pipeline.images import to_float
from pipeline.shards.base import Layout, Put, ShardFile, ShardInfo, ShardSample

MOST_CLASSES = 10


class Dmat:
    """Writer of `dmat/SPLIT/LABEL.h5`."""

    folder = "dmat"
    indexes: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[Layout] = "by-class"

    def check(self, info: ShardInfo) -> None:
        """Refuse more classes than a digit can tell apart, and a set without latents."""
        if len(info.classes) > MOST_CLASSES:
            raise PipelineError(
                f"--format dmat names a class by one digit, so it holds {MOST_CLASSES} classes at most, "
                f"and {info.dataset} has {len(info.classes)}: use webdataset or parquet"
            )
        if info.latent_shape is None:
            raise PipelineError("--format dmat holds latents: leave out --no-latents")
        if info.soft_labels:
            raise PipelineError(
                "--format dmat tells a label by the name of a file, so it cannot carry soft labels: use webdataset "
                "or parquet, or make the variants without (natra: --smoothing 0)"
            )

    def file_name(self, split: str, index: int, count: int) -> str:
        """The class is the name."""
        return f"{split}/{index}.h5"

    @contextmanager
    def writing(self, path: Path, count: int, info: ShardInfo) -> Iterator[Put]:
        """Begin a class."""
        assert info.latent_shape is not None
        size, start = info.resolution, 0
        with atomic_write(path) as file, h5py.File(file, "w", track_order=True) as target:
            images = target.create_dataset("images", (count, 3, size, size), np.float32)
            latents = target.create_dataset("latents", (count, *info.latent_shape), np.float32)

            def put(samples: Sequence[ShardSample]) -> None:
                nonlocal start
                stop = start + len(samples)
                images[start:stop] = to_float(np.stack([sample.pixels for sample in samples])).numpy()
                latents[start:stop] = np.stack([sample.latent for sample in samples if sample.latent is not None])
                start = stop

            yield put

    def write_index(self, folder: Path, files: Sequence[ShardFile]) -> None:
        """Their loader lists the folder."""
