"""The stage: rows of latents.zarr in, rows of variants/NAME.zarr out."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from pipeline.build import Build
from pipeline.config import digest_of
from pipeline.devices import resolve_device
from pipeline.errors import PipelineError
from pipeline.files import remove
from pipeline.generators import open_generator
from pipeline.ledger import Record, data_digests
from pipeline.outputs import rows_output
from pipeline.run import rows_in_chunks
from pipeline.stage import Chunk, ChunkResult
from pipeline.store import ArraySpec, create_group, open_group, read_rows, write_rows
from stages.augment.config import AugmentConfig
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Sources

BATCH = 256  # variants made at once where --batch-size is silent


@dataclass(frozen=True)
class Augment:
    """Makes `variants` variants of every inverted sample of a split.

    Row j * variants + k of the output is variant k of the split's j-th sample, whatever has been inverted so far;
    rows of samples that are not (yet) inverted are NaN and not `valid`.
    """

    config: AugmentConfig
    variants_name: str
    generator: str
    limit: int | None = None
    device: str = "auto"
    batch_size: int | None = None

    version: ClassVar[int] = 1
    upstream: ClassVar[tuple[str, ...]] = ("invert",)

    @property
    def name(self) -> str:
        """The stage's name holds the variant set's."""
        return f"augment/{self.variants_name}"

    def settings(self, build: Build) -> dict[str, Any]:
        """Configuration and the generator's digest."""
        return {**asdict(self.config), "generator": open_generator(self.generator).sha256}

    def split_rows(self, build: Build) -> NDArray[np.int64]:
        """Rows of samples.parquet that belong to the split, in order."""
        samples = build.samples()
        rows = np.flatnonzero((samples["split"] == self.config.split).to_numpy())
        if len(rows) == 0:
            splits = ", ".join(sorted(samples["split"].unique()))
            raise PipelineError(f"--split {self.config.split}: the dataset has {splits}")
        return rows.astype(np.int64)

    def layers(self) -> tuple[int, ...]:
        """Layers that are replaced: the generator's fine ones, or those asked for."""
        loaded = open_generator(self.generator)
        if not self.config.fine_layers:
            return loaded.fine_layers
        try:
            layers = tuple(int(part) for part in self.config.fine_layers.split(","))
        except ValueError:
            layers = (-1,)
        if not all(0 <= layer < loaded.network.num_ws for layer in layers):
            raise PipelineError(
                f"--fine-layers {self.config.fine_layers}: give numbers from 0 to {loaded.network.num_ws - 1}, "
                f"separated by commas"
            )
        return layers

    def arrays(self) -> dict[str, ArraySpec]:
        """Layout of variants/NAME.zarr."""
        network = open_generator(self.generator).network
        rows = self.config.chunk_size * self.config.variants
        inner = next(n for n in (16, 8, 4, 2, 1) if rows % n == 0)
        w = ArraySpec("float32", (network.num_ws, network.w_dim), ("layer", "channel"), inner=inner, compress=True)
        index = ArraySpec("int64", fill=-1)
        flags = ArraySpec("uint8", fill=0)
        return {"w": w, "source": index, "partner": index, "variant": index, "label": index, "valid": flags}

    def plan(self, build: Build) -> list[Chunk]:
        """Create the group and cut its rows into chunks of whole samples."""
        sources = len(self.split_rows(build))
        per_sample = self.config.variants
        attributes = {
            "dataset": build.manifest.name,
            "mode": self.config.mode,
            "generator": self.generator,
            "fine_layers": list(self.layers()),
            "variants": per_sample,
            "split": self.config.split,
        }
        path = build.variants_path(self.variants_name)
        create_group(path, sources * per_sample, self.config.chunk_size * per_sample, self.arrays(), attributes)
        limit = None if self.limit is None else self.limit * per_sample
        return rows_in_chunks(sources * per_sample, self.config.chunk_size * per_sample, limit)

    def chunk_sources(self, build: Build, chunk: Chunk) -> NDArray[np.int64]:
        """Rows of samples.parquet that a chunk's rows are made of, each as often as it has variants."""
        return self.split_rows(build)[np.arange(chunk.start, chunk.stop) // self.config.variants]

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """Digest of the latents that the chunk draws on; with `mix` any sample may be a partner."""
        samples = build.samples()
        rows = self.chunk_sources(build, chunk)
        first, last = (0, len(samples)) if self.config.mode == "mix" else (int(rows[0]), int(rows[-1]) + 1)
        digests = [d for d in data_digests(build, "invert") if d[0] < last and d[1] > first]
        return digest_of([digests, samples["status"].iloc[first:last].tolist()])

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Make the chunk's variants from the inverted samples among its sources."""
        device = resolve_device(self.device)
        samples = build.samples()
        rows = self.chunk_sources(build, chunk)
        number = np.arange(chunk.start, chunk.stop) % self.config.variants
        inverted = samples["status"].isin(["ok", "poor"] if self.config.include_poor else ["ok"]).to_numpy()
        valid = inverted[rows]
        specs = self.arrays()
        columns: dict[str, NDArray[Any]] = {
            "w": np.full((len(chunk), *specs["w"].tail), np.nan, np.float32),
            "source": rows,
            "partner": np.full(len(chunk), -1, np.int64),
            "variant": number,
            "label": samples["label"].to_numpy()[rows].astype(np.int64),
            "valid": valid.astype(np.uint8),
        }
        if valid.any():
            ids = samples["id"].to_numpy()
            context = self.context(build, inverted, device)
            mode = MODES[self.config.mode].load()
            places = np.flatnonzero(valid)
            for batch in np.array_split(places, -(-len(places) // (self.batch_size or BATCH))):
                picked = torch.from_numpy(rows[batch])
                keys = [f"{ids[r]}/{k}" for r, k in zip(rows[batch], number[batch], strict=True)]
                with torch.inference_mode():
                    made = mode(Sources(context.read_w(picked), picked, keys), context)
                columns["w"][batch] = made.w.cpu().numpy()
                columns["partner"][batch] = made.partner.numpy()
        path = build.variants_path(self.variants_name)
        digest = write_rows(path, chunk.start, columns)
        return ChunkResult([rows_output(build.root, path, list(columns), chunk.start, chunk.stop, digest)])

    def context(self, build: Build, inverted: NDArray[np.bool_], device: torch.device) -> Context:
        """What the modes draw on."""
        network = open_generator(self.generator, device.type).network
        latents = open_group(build.latents_path)["w"]
        assert isinstance(latents, zarr.Array)

        def read_w(rows: Tensor) -> Tensor:
            wanted, place = np.unique(rows.numpy(), return_inverse=True)
            return torch.from_numpy(np.asarray(latents.oindex[wanted])[place]).to(device)

        split = self.split_rows(build)
        pool = torch.from_numpy(split[inverted[split]])
        return Context(network.map, network.z_dim, self.layers(), pool, read_w, self.config.seed)

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """Count the variants."""
        group = read_rows(
            build.variants_path(self.variants_name),
            ("valid",),
            0,
            sum(r["stop"] - r["start"] for r in records),
        )
        return {"variants": self.variants_name, "valid": int(group["valid"].sum())}

    def reset(self, build: Build) -> None:
        """Delete the variant set."""
        remove(build.variants_path(self.variants_name))
