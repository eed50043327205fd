"""The stage: rows of latents.zarr in, rows of variants/NAME.zarr out."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.batches import batch_slots
from pipeline.build import Build
from pipeline.capacity import telling_what_fits
from pipeline.config import digest_of, stored_settings
from pipeline.devices import resolve_device
from pipeline.errors import PipelineError
from pipeline.files import stamp_of
from pipeline.generators import open_generator
from pipeline.ledger import SAMPLES, Record, data_digests
from pipeline.outputs import rows_output
from pipeline.perceptual import perceptual_digest
from pipeline.progress import part
from pipeline.run import limited_chunks
from pipeline.samples import INVERTED, samples_digest
from pipeline.stage import Chunk, ChunkResult
from pipeline.store import ArraySpec, create_group, read_rows, remove_group, shard_samples, write_rows
from pipeline.variants import marks
from stages.augment.config import SHARED, AugmentConfig
from stages.augment.layout import Columns, empty_columns, layout
from stages.augment.measure import measure, mend_unrelated, unrelated_distance
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Sources
from stages.augment.setup import edits_digest, make_context, open_classifier, open_edits

BATCH = 256  # variants that a mode without an attack makes at once where --batch-size is silent
ATTACKED = 0.9  # share of the work that is an attack, where there is one
DECIDING = ("id", "label", "sha256", "status")  # columns of samples.parquet that decide variants
MOST_PIXELS = 256 * 256**2  # pixels of variants that are made at once where their images are kept


@dataclass(frozen=True)
class Augment:
    """Makes `variants` variants of every inverted sample of a split.

    Row j * variants + k of the output is variant k of the split's j-th sample, whatever has been inverted so far;
    rows of samples that are not (yet) inverted are NaN and not `valid`. `config.chunk_size` is not 0. Pixels of the
    samples in rows `missing` cannot be had, so a mode that reads them makes no variants of these.
    """

    config: AugmentConfig
    variants_name: str
    generator: str
    perceptual: str
    limit: int | None = None
    device: str = "auto"
    batch_size: int | None = None
    missing: tuple[int, ...] = ()

    version: ClassVar[int] = 5
    upstream: ClassVar[tuple[str, ...]] = (SAMPLES, "invert")

    @property
    def name(self) -> str:
        """The stage's name holds the variant set's."""
        return f"augment/{self.variants_name}"

    @property
    def reads_images(self) -> bool:
        """Some modes start from the samples' own pixels."""
        return MODES[self.config.mode].originals

    def settings(self, build: Build) -> dict[str, Any]:
        """What the mode reads of the configuration, and the digests of all networks and directions."""
        entry, loaded = MODES[self.config.mode], open_generator(self.generator)
        names = [name for name in (*SHARED, *entry.options) if name not in ("classifier", "keep")]
        stored = stored_settings(self.config)
        settings = {name: stored[name] for name in names}
        if "fine_layers" in entry.options:
            settings["fine_layers"] = list(self.layers())
        settings |= {"generator": loaded.sha256, "perceptual": perceptual_digest(self.perceptual)}
        classifier = open_classifier(self.config, build, self.generator, "cpu")
        if classifier is not None:
            settings |= {"classifier": classifier.sha256, "keep": self.config.keep}
        edits = open_edits(self.config, build, loaded)
        if edits:
            settings["edits"] = edits_digest(edits)
        return settings

    def split_rows(self, build: Build) -> NDArray[np.int64]:
        """Rows of samples.parquet that belong to the split, in order."""
        return rows_of_split(build, self.config.split, stamp_of(build.samples_path))

    def layers(self) -> tuple[int, ...]:
        """Layers that are replaced: the generator's fine ones, or those asked for."""
        loaded = open_generator(self.generator)
        if self.config.fine_layers is None:
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

    def arrays(self, build: Build) -> dict[str, ArraySpec]:
        """Layout of variants/NAME.zarr."""
        return layout(self.config, open_generator(self.generator).network, len(build.classes))

    def plan(self, build: Build) -> list[Chunk]:
        """Create the group and cut its rows into chunks of whole samples."""
        sources = len(self.split_rows(build))
        per_sample = self.config.variants
        attributes = {
            "dataset": build.manifest.name,
            "mode": self.config.mode,
            "generator": self.generator,
            "variants": per_sample,
            "split": self.config.split,
            "classifier": self.config.classifier or "",
            "epsilon_unit": MODES[self.config.mode].unit,
        }
        if "fine_layers" in MODES[self.config.mode].options:
            attributes["fine_layers"] = list(self.layers())
        shard = shard_samples(self.config.chunk_size, open_generator(self.generator).network.resolution)
        path = build.variants_path(self.variants_name)
        create_group(path, sources * per_sample, shard * per_sample, self.arrays(build), attributes)
        return self.chunks(build)

    def chunks(self, build: Build) -> list[Chunk]:
        """The variants in pieces, those of a sample together."""
        each = self.config.variants
        rows, limit = len(self.split_rows(build)) * each, None if self.limit is None else self.limit * each
        return limited_chunks(build, self.name, rows, self.config.chunk_size * each, limit)

    def chunk_sources(self, build: Build, chunk: Chunk) -> NDArray[np.int64]:
        """Rows of samples.parquet that a chunk's rows are made of, each as often as it has variants."""
        return self.split_rows(build)[np.arange(chunk.start, chunk.stop) // self.config.variants]

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """Digest of the latents that the chunk draws on; any sample may be a partner in modes that have them."""
        rows = self.chunk_sources(build, chunk)
        if MODES[self.config.mode].partners:
            table = samples_digest(build.samples_path)
            return digest_of([data_digests(build, "invert"), table, rows.tolist(), self.missing])
        first, last = int(rows[0]), int(rows[-1]) + 1
        digests = [d for d in data_digests(build, "invert") if d[0] < last and d[1] > first]
        samples = build.samples(*DECIDING, start=first, stop=last)
        missing = [row for row in self.missing if first <= row < last]
        return digest_of([digests, rows.tolist(), samples.astype(str).to_numpy().tolist(), missing])

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Make the chunk's variants from the inverted samples among its sources."""
        samples = build.samples("id", "label", "sha256", "status")
        rows = self.chunk_sources(build, chunk)
        inverted = self.usable(samples["status"])
        inverted[list(self.missing)] = False
        columns = empty_columns(self.arrays(build), len(chunk))
        columns["source"] = rows
        columns["variant"] = np.arange(chunk.start, chunk.stop) % self.config.variants
        columns["label"] = samples["label"].to_numpy()[rows].astype(np.int64)
        places = np.flatnonzero(inverted[rows])
        absent = np.flatnonzero(np.isin(rows, self.missing))
        failures = {int(chunk.start + i): "its source cannot be read any more" for i in absent}
        if len(places):
            ids = samples["id"].to_numpy()
            keys = [f"{ids[r]}/{k}" for r, k in zip(rows, columns["variant"], strict=True)]
            split = self.split_rows(build)
            with telling_what_fits(self.generator, self.perceptual, resolve_device(self.device)):
                context = self.context(build, split[inverted[split]])
                broken = self.fill_all(build, columns, places, keys, context)
            for i in broken:
                failures[chunk.start + int(i)] = (
                    "the variant is not a finite number, or its source cannot be read any more"
                )
        path = build.variants_path(self.variants_name)
        digest = write_rows(path, chunk.start, columns)
        output = rows_output(build.root, path, list(columns), chunk.start, chunk.stop, digest)
        made_from = marks(samples.iloc[rows[:: self.config.variants]])
        return ChunkResult([output], failures, {"made_from": made_from})

    def usable(self, status: "pd.Series[str]") -> NDArray[np.bool_]:
        """Which samples [N] may get variants, by their status."""
        return status.isin(INVERTED if self.config.include_poor else ["ok"]).to_numpy(copy=True)

    def context(self, build: Build, pool: NDArray[np.int64]) -> Context:
        """What the mode draws on; `pool` is the rows of the samples that may be partners."""
        device = resolve_device(self.device)
        slots = batch_slots(self.batch_size, self.generator, self.perceptual, device)
        return make_context(build, self.config, self.generator, self.layers(), pool, slots, device)

    def batches(self, places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Variants that the mode gets at once: an attack all, to fill its slots; fewer where images are kept."""
        entry = MODES[self.config.mode]
        size = len(places) if entry.attacks else self.batch_size or BATCH
        if entry.pixels:
            size = min(size, max(1, MOST_PIXELS // open_generator(self.generator).network.resolution ** 2))
        return np.array_split(places, -(-len(places) // size))

    def fill_all(
        self, build: Build, columns: Columns, places: NDArray[np.int64], keys: list[str], context: Context
    ) -> list[int]:
        """Make the variants at some places of a chunk, and return which of them are not finite numbers."""
        mixup = MODES[self.config.mode].partners and "soft_label" in columns  # may go all the way to the partner
        bound = np.inf
        if not mixup:
            device = resolve_device(self.device).type
            bound = unrelated_distance(self.generator, self.perceptual, device, build)
        broken: list[int] = []
        done = 0
        for batch in self.batches(places):
            with torch.no_grad(), part(done / len(places), (done + len(batch)) / len(places)):
                broken += batch[self.fill(columns, batch, [keys[i] for i in batch], context, bound)].tolist()
            done += len(batch)
        return broken

    def fill(
        self, columns: Columns, places: NDArray[np.int64], keys: list[str], context: Context, bound: float
    ) -> NDArray[np.bool_]:
        """Make the variants at some places of a chunk, measure them, and write them to its columns.

        Those farther than `bound` from their sources are flagged. Returns which of them are not finite numbers.
        """
        rows, labels, numbers = (torch.from_numpy(columns[n][places]) for n in ("source", "label", "variant"))
        sources = Sources(context.read_w(rows), rows, keys, labels, numbers, context.read_codes(rows))
        with part(0, ATTACKED if MODES[self.config.mode].attacks else 0):
            made = MODES[self.config.mode].load()(sources, context)
        with part(ATTACKED if MODES[self.config.mode].attacks else 0, 1):
            measured = measure(made, sources, context, self.perceptual, bound, keep_pixels="image" in columns)
        columns["w"][places] = made.w.cpu().numpy()
        columns["partner"][places] = made.partner.numpy()
        for name, values in made.columns.items():
            columns[name][places] = values.cpu().numpy()
        for name in ("distance", "fooled", "source_fooled", "moved", "flagged"):
            columns[name][places] = getattr(measured, name)
        if "image" in columns:
            columns["image"][places] = measured.pixels
        columns["valid"][places] = ~measured.broken & (measured.fooled | (self.config.keep == "all"))
        return measured.broken

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """Count the variants."""
        mend_unrelated(self.generator, self.perceptual, resolve_device(self.device).type, build)
        rows = sum(r["stop"] - r["start"] for r in records)
        path = build.variants_path(self.variants_name)
        group = read_rows(path, ("valid", "fooled", "source_fooled", "flagged", "distance"), 0, rows)
        valid = group["valid"] == 1
        summary: dict[str, Any] = {"variants": self.variants_name, "valid": int(valid.sum())}
        if self.config.classifier is not None:
            made = np.isfinite(group["distance"])
            for name in ("fooled", "source_fooled"):
                summary[f"{name}_share"] = round(float(group[name][made].mean()), 4) if made.any() else 0.0
        summary["flagged"] = int(group["flagged"][valid].sum())
        summary["distance_mean"] = round(float(group["distance"][valid].mean()), 4) if valid.any() else 0.0
        return summary

    def reset(self, build: Build) -> None:
        """Delete the variant set."""
        remove_group(build.variants_path(self.variants_name))


@lru_cache(maxsize=2)
def rows_of_split(build: Build, split: str, changed: tuple[int, ...]) -> NDArray[np.int64]:
    """Rows of samples.parquet, as it was written then, that belong to a split, in order."""
    splits = build.samples("split")["split"]
    rows = np.flatnonzero((splits == split).to_numpy())
    if len(rows) == 0:
        raise PipelineError(f"--split {split}: the dataset has {', '.join(sorted(splits.unique()))}")
    return rows.astype(np.int64)
