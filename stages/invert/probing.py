"""The first part of an inversion: probes of the generator in chunks, and the preconditioner that follows.

It is measured once a build and kept beside the imported weights as well, so that the next build of the same
generator finds it. What a build has once used stays its own.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import load_file, save

from pipeline.batches import batch_slots
from pipeline.belongings import forget, problem_of_end, writing
from pipeline.build import Build
from pipeline.config import digest_of
from pipeline.devices import resolve_device
from pipeline.execute import Execution
from pipeline.files import write_bytes
from pipeline.generators import LoadedGenerator, open_generator
from pipeline.ledger import Record
from pipeline.manifest import weights_folder
from pipeline.outputs import file_output
from pipeline.run import rows_in_chunks, run_stage
from pipeline.stage import Chunk, ChunkResult
from pipeline.tensors import read_tensors, write_tensors
from stages.invert.config import InvertConfig
from stages.invert.latents import make_latents
from stages.invert.preconditioner import PROBES, Preconditioner, joined, make_preconditioner, probe

CHUNK = 8  # probes of a task
QUICK = 10.0  # seconds up to which sharing them out is not worth starting workers
REVISION = 1


@dataclass(frozen=True)
class Probing:
    """Takes the probes of a generator in the space that is searched."""

    config: InvertConfig
    generator: str
    perceptual: str
    device: str = "auto"
    batch_size: int | None = None

    name: ClassVar[str] = "invert/preconditioner"
    version: ClassVar[int] = REVISION
    reads_images: ClassVar[bool] = False
    upstream: ClassVar[tuple[str, ...]] = ()

    def settings(self, build: Build) -> dict[str, Any]:
        """The generator and the space."""
        return space_of(self.config, open_generator(self.generator))

    def folder(self, build: Build) -> Path:
        """Where the probes lie until all are there."""
        return build.root / ".cache" / "probes"

    def plan(self, build: Build) -> list[Chunk]:
        """Cut the probes into chunks."""
        return rows_in_chunks(PROBES, CHUNK)

    def inputs(self, build: Build, chunk: Chunk) -> str:
        """A probe depends on its number alone."""
        return ""

    def run(self, build: Build, chunk: Chunk) -> ChunkResult:
        """Take some probes and store their gradients."""
        device = resolve_device(self.device)
        loaded = open_generator(self.generator, device.type)
        latents = make_latents(self.config, loaded)
        slots = batch_slots(self.batch_size, self.generator, self.perceptual, device)
        found = probe(loaded.network, latents, range(chunk.start, chunk.stop), slots, device)
        path = self.folder(build) / f"{chunk.index:02d}.safetensors"
        write_bytes(path, save(found.tensors()))
        return ChunkResult([file_output(build.root, path, len(chunk))])

    def finish(self, build: Build, records: list[Record]) -> dict[str, Any]:
        """Turn the probes into the preconditioner, here and beside the weights."""
        loaded = open_generator(self.generator)
        paths = [build.root / record["outputs"][0]["file"] for record in records]
        probes = joined([load_file(path) for path in paths])
        found = make_preconditioner(loaded.network, make_latents(self.config, loaded), probes)
        keep(build, self.config, loaded, found)
        return {}

    def reset(self, build: Build) -> None:
        """Nothing: the probes are recorded."""


def prepare(
    build: Build,
    config: InvertConfig,
    generator: str,
    perceptual: str,
    execution: Execution,
    batch_size: int | None,
    step_seconds: float | None,
) -> None:
    """See to it that the build has its preconditioner: from beside the weights, or measured.

    Args:
        step_seconds: what a gradient step of an image takes here, if that is known: whether to start workers.
    """
    loaded = open_generator(generator)
    own = build_path(build, config, loaded)
    if read(own) is not None and problem_of_end(build, f"cache/{own.name}") is None:
        drop_probes(build)
        return
    if (known := read(shared_path(config, loaded))) is not None:
        keep(build, config, loaded, known)
        return
    stage = Probing(config, generator, perceptual, execution.device, batch_size)
    begun = build.info().get("stages", {}).get(stage.name, {}).get("settings")
    if execution.scheduler is None and step_seconds is not None and PROBES * step_seconds < QUICK:
        execution = replace(execution, workers=0)
    run_stage(stage, build, execution, fresh=begun not in (None, stage.settings(build)), unit="probes")
    drop_probes(build)


def drop_probes(build: Build) -> None:
    """Delete the probes, and the record of taking them, once the preconditioner is there."""
    info = build.info()
    if info.get("stages", {}).pop(Probing.name, None) is not None:
        forget(build, Probing.name)
        build.write_info(info)


def probes_to_take(build: Build, config: InvertConfig, loaded: LoadedGenerator) -> int:
    """How many probes a run would take: none where they were taken before, or where nothing is searched for."""
    if config.method in ("given", "encoder"):
        return 0
    known = read(build_path(build, config, loaded)) or read(shared_path(config, loaded))
    return PROBES if known is None else 0


def present_preconditioner(build: Build, config: InvertConfig, loaded: LoadedGenerator) -> Preconditioner | None:
    """The build's preconditioner for this generator and space, if it has been measured."""
    return read(build_path(build, config, loaded))


def keep(build: Build, config: InvertConfig, loaded: LoadedGenerator, found: Preconditioner) -> None:
    """Write a preconditioner into the build, and beside the weights where that is allowed."""
    own, path = build_path(build, config, loaded), shared_path(config, loaded)
    with writing(build, f"cache/{own.name}", [own]):
        write_tensors(own, {"basis": found.basis}, {})
    if read(path) is None:
        try:
            write_tensors(path, {"basis": found.basis}, {})
        except OSError:
            return  # a folder that cannot be written to: the build has its own


def read(path: Path) -> Preconditioner | None:
    """The preconditioner at a path; None if there is none, or a damaged one."""
    try:
        return Preconditioner(read_tensors(path)[0]["basis"]) if path.is_file() else None
    except (ValueError, KeyError):
        return None


def space_of(config: InvertConfig, loaded: LoadedGenerator) -> dict[str, Any]:
    """What a preconditioner depends on."""
    return {
        "generator": loaded.sha256,
        "space": config.space,
        "codes": config.codes,
        "compose_at": config.compose_at if config.codes > 1 else -1,
    }


def file_name(config: InvertConfig, loaded: LoadedGenerator) -> str:
    """Name of its file."""
    return f"preconditioner-{digest_of([REVISION, space_of(config, loaded)])[:16]}.safetensors"


def build_path(build: Build, config: InvertConfig, loaded: LoadedGenerator) -> Path:
    """Where a build has it."""
    return build.root / ".cache" / file_name(config, loaded)


def shared_path(config: InvertConfig, loaded: LoadedGenerator) -> Path:
    """Where it lies for other builds."""
    return weights_folder() / "preconditioners" / file_name(config, loaded)
