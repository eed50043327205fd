"""The stage: latents and variants in, one shard of every format out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import zarr

from pipeline.build import Build
from pipeline.capacity import telling_what_fits
from pipeline.config import digest_of, stored_settings
from pipeline.devices import resolve_device
from pipeline.errors import PipelineError
from pipeline.files import write_bytes
from pipeline.generators import open_generator
from pipeline.ledger import SAMPLES, Record, stage_digest
from pipeline.outputs import Output, file_output
from pipeline.shards import shard_formats
from pipeline.shards.base import ShardFile, ShardInfo, write_shard
from pipeline.shards.card import dataset_card
from pipeline.shards.croissant import croissant
from pipeline.shards.manifest import write_manifest
from pipeline.stage import Chunk, ChunkResult
from pipeline.store import open_group
from stages.shard.config import ShardConfig
from stages.shard.items import ShardPlan, plan_shards
from stages.shard.rendering import Renderer


@dataclass(frozen=True)
class Shard:
    """Renders samples and variants and packs them; one task is one shard in all formats.

    The own pixels of the samples in rows `missing` cannot be had, so images that need them are left out.
    """

    config: ShardConfig
    shards_name: str
    variants: tuple[str, ...]
    generator: str
    limit: int | None = None
    device: str = "auto"
    batch_size: int | None = None
    missing: tuple[int, ...] = ()

    version: ClassVar[int] = 4

    @property
    def name(self) -> str:
        """The stage's name holds the shard set's."""
        return f"shard/{self.shards_name}"

    @property
    def reads_images(self) -> bool:
        """Where the samples' own pixels are packed."""
        return self.config.originals or self.config.base == "original"

    @property
    def upstream(self) -> tuple[str, ...]:
        """The samples, with the attribute that is the label, inversion and the variant sets."""
        samples = f"{SAMPLES}/{self.config.label}" if self.config.label else SAMPLES
        return (samples, "invert", *(f"augment/{name}" for name in self.variants))

    def settings(self, build: Build) -> dict[str, Any]:
        """Configuration, the variant sets and the generator's digest."""
        generator = open_generator(self.generator).sha256
        return {
            **stored_settings(self.config),
            "variants": list(self.variants),
            "generator": generator,
            "limit": self.limit or 0,
        }

    def plans(self, build: Build) -> list[ShardPlan]:
        """The shards, computed once for each state of the build."""
        return _plans(self, build, self.state(build))

    def state(self, build: Build) -> str:
        """Digest of everything that decides which images there are and how they look."""
        return digest_of([[stage_digest(build, stage) for stage in self.upstream], self.missing])

    def plan(self, build: Build) -> list[Chunk]:
        """One chunk for each shard; its rows are places in the shuffled order."""
        return self.chunks(build)

    def chunks(self, build: Build) -> list[Chunk]:
        """The shards."""
        plans = self.plans(build)
        return [Chunk(i, plan.start, plan.start + len(plan.rows)) for i, plan in enumerate(plans)]

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """The order is shuffled over everything, so every shard depends on everything."""
        return self.state(build)

    def info(self, build: Build) -> ShardInfo:
        """What the files say of the set."""
        manifest, network = build.manifest, open_generator(self.generator).network
        return ShardInfo(
            name=self.shards_name,
            dataset=manifest.name,
            licence=manifest.licence,
            homepage=manifest.homepage,
            description=manifest.description,
            classes=build.labels(self.config.label)[1],
            resolution=network.resolution,
            latent_shape=(network.num_ws, network.w_dim) if self.config.latents else None,
            originals=self.config.originals,
            soft_labels=self.soft_labels(build),
        )

    def soft_labels(self, build: Build) -> bool:
        """Whether a variant set has soft labels, so that every sample gets one.

        Raises:
            PipelineError: the labels of the set are an attribute, or classes, that soft labels were not made for.
        """
        soft = [name for name in self.variants if "soft_label" in open_group(build.variants_path(name))]
        if soft and self.config.label:
            raise PipelineError(
                f"--label {self.config.label}: the soft labels of {', '.join(soft)} are of the dataset's own: "
                f"leave out --label, or those variants"
            )
        groups = {name: open_group(build.variants_path(name)) for name in soft}
        widths = {name: cast(zarr.Array[Any], group["soft_label"]).shape[1] for name, group in groups.items()}
        if other := [name for name in soft if widths[name] != len(build.classes)]:
            raise PipelineError(
                f"the soft labels of '{other[0]}' are of {widths[other[0]]} classes, and the samples have "
                f"{len(build.classes)} now: make it again with `pipeline augment --name {other[0]} --fresh`"
            )
        return bool(soft)

    def paths(self, build: Build, plan: ShardPlan) -> dict[str, Path]:
        """File of a shard in each format of its layout."""
        return {
            name: build.shards_path(self.shards_name)
            / writer.folder
            / writer.file_name(plan.split, plan.index, plan.count)
            for name, writer in shard_formats(self.config.format).items()
            if writer.layout == plan.layout
        }

    def beside(self) -> list[str]:
        """What a set holds beside its shards and manifest.json, relative to its folder."""
        writers = shard_formats(self.config.format).values()
        indexes = [f"{writer.folder}/{name}" for writer in writers for name in writer.indexes]
        return [*indexes, "README.md", "croissant.json"]

    def files(self, build: Build, chunks: Sequence[Chunk]) -> list[Path]:
        """The whole set."""
        plans, root = self.plans(build), build.shards_path(self.shards_name)
        shards = [path for chunk in chunks for path in self.paths(build, plans[chunk.index]).values()]
        return [*shards, *(root / name for name in (*self.beside(), "manifest.json"))]

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Render the shard's images and write it in every format."""
        plan, info = self.plans(build)[chunk.index], self.info(build)
        (build.shards_path(self.shards_name) / "manifest.json").unlink(missing_ok=True)
        paths = self.paths(build, plan)
        renderer = Renderer(
            build, self.config, self.variants, self.generator, self.device, self.batch_size, self.state(build),
            info.soft_labels,
        )  # fmt: skip
        files = {path: shard_formats(name)[name] for name, path in paths.items()}
        with telling_what_fits(self.generator, None, resolve_device(self.device)):
            write_shard(files, renderer.samples(plan), len(chunk), info)
        outputs = [file_output(build.root, path, len(chunk)) for path in files]
        return ChunkResult(
            outputs, details={"split": plan.split, "layout": plan.layout, "kinds": dict(renderer.kinds)}
        )

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """Write the indexes, the card, Croissant and, last, manifest.json."""
        root, info = build.shards_path(self.shards_name), self.info(build)
        files = [shard_file(build, root, record, output) for record in records for output in record["outputs"]]
        kinds: Counter[str] = Counter()
        for record in records:
            if record["details"]["layout"] == records[0]["details"]["layout"]:  # another layout holds the same
                kinds.update(record["details"]["kinds"])
        for writer in shard_formats(self.config.format).values():
            mine = [file for file in files if file.path.startswith(f"{writer.folder}/")]
            writer.write_index(root / writer.folder, mine)
        write_bytes(root / "README.md", dataset_card(info, files, dict(sorted(kinds.items()))).encode())
        write_bytes(root / "croissant.json", croissant(info, files, build.info()["created"][:10]).encode())
        write_manifest(root, files, [root / name for name in self.beside()], records[0]["key"])
        return {
            "shards": str(root),
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            **{f"samples_{kind}": count for kind, count in sorted(kinds.items())},
        }

    def reset(self, build: Build) -> None:
        """Nothing: all its files are recorded."""


@lru_cache(maxsize=2)
def _plans(stage: Shard, build: Build, state: str) -> list[ShardPlan]:
    resolution = open_generator(stage.generator).network.resolution
    return plan_shards(build, stage.config, stage.variants, stage.limit, resolution, stage.missing)


def shard_file(build: Build, root: Path, record: Record, output: Output) -> ShardFile:
    """An output of a record as manifest.json lists it, relative to the set's folder."""
    path = (build.root / output["file"]).relative_to(root).as_posix()
    return ShardFile(path, record["details"]["split"], output["samples"], output["bytes"], output["sha256"])
