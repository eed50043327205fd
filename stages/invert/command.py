"""`pipeline invert`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pipeline.options import RunOptions, config_options, dry_run_option, run_options, show_summary
from stages.invert.config import InvertConfig

if TYPE_CHECKING:
    from pipeline.build import Build
    from pipeline.datasets import DatasetReader
    from pipeline.manifest import DatasetManifest


@click.command()
@run_options
@config_options(InvertConfig)
@click.option("--generator", help="Generator to invert into.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--encoder", help="Encoder of the methods `encoder` and `hybrid`.  [default: the dataset's]")
@click.option("--compile", "compiled", is_flag=True, help="Fuse kernels with torch.compile: a minute, then faster.")
@click.option("--label", help="Attribute that is the label.  [default: the dataset's]")
@click.option(
    "--retry-failed", is_flag=True, help="Try all failed samples again, not only those that can be read now."
)
@dry_run_option
def command(
    run: RunOptions,
    config: InvertConfig,
    generator: str | None,
    perceptual: str | None,
    encoder: str | None,
    compiled: bool,
    label: str | None,
    retry_failed: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Project a dataset's images into W+ and store the latents in Zarr.

    The first stage: it begins the build. Run again, it lists the dataset anew and takes in what has come, changed
    or gone since; only that is computed.

    \b
        pipeline invert --dataset color-digits
        pipeline invert --dataset color-digits --limit 64 --method algorithm1 --build builds/few-algorithm1
        pipeline invert --dataset color-digits --dry-run
    """
    manifest, reader = dataset_of(run, label)
    networks = choose_networks(manifest, config.method, generator, perceptual, encoder)
    refuse_impossible(run, config, networks, manifest, reader)
    with build_of(run, label, retry_failed, dry_run) as build:
        return invert(build, run, config, networks, compiled, dry_run)


@dataclass(frozen=True)
class Networks:
    """The networks of an inversion by name or path, and the method that uses them."""

    generator: str
    perceptual: str
    encoder: str | None
    method: str


def dataset_of(run: RunOptions, label: str | None) -> "tuple[DatasetManifest, DatasetReader]":
    """The manifest and reader of the dataset that is meant. Raises DatasetError if its files are missing."""
    from pipeline.build import resolve_build
    from pipeline.datasets import load_dataset
    from pipeline.errors import DatasetError

    if run.dataset is None:
        build = resolve_build(None, run.build)
        return build.manifest, build.reader
    manifest, reader = load_dataset(run.dataset, label)
    if problem := reader.problem():
        raise DatasetError(problem)
    return manifest, reader


def refuse_impossible(
    run: RunOptions,
    config: InvertConfig,
    networks: "Networks",
    manifest: "DatasetManifest",
    reader: "DatasetReader",
) -> None:
    """Raise PipelineError for what cannot be done, before `--fresh` lets go of what is there."""
    from dataclasses import replace

    from pipeline.errors import DatasetError
    from pipeline.execute import Execution, workers_at_work
    from pipeline.generators import open_generator
    from stages.invert.latents import make_latents

    if networks.method == "given" and not hasattr(reader, "latent"):
        raise DatasetError(f"dataset '{manifest.name}' brings no latents: use another --method")
    loaded = open_generator(networks.generator)
    make_latents(replace(config, method=networks.method).settled(loaded.network.w_dim), loaded)
    if run.fresh and run.scheduler is not None:
        workers_at_work(Execution(run.workers, run.scheduler, run.device), 1)


def choose_networks(
    manifest: "DatasetManifest", method: str, generator: str | None, perceptual: str | None, encoder: str | None
) -> Networks:
    """The networks that are asked for, or the dataset's; all can be opened.

    Raises:
        ManifestError: none is named, or the generator is for images of another size.
        WeightsError: weights are missing or damaged.
    """
    from pipeline.errors import ManifestError
    from pipeline.generators import open_generator
    from pipeline.perceptual import load_perceptual

    generator = generator or manifest.generator
    perceptual = perceptual or manifest.perceptual
    if generator is None or perceptual is None:
        missing = "generator" if generator is None else "perceptual"
        raise ManifestError(
            f"dataset '{manifest.name}' names no {missing}: pass --{missing} NAME, or add the key to its manifest"
        )
    network = open_generator(generator).network
    if network.resolution != manifest.resolution:
        raise ManifestError(
            f"dataset '{manifest.name}' delivers {manifest.resolution}x{manifest.resolution} images, but generator "
            f"'{generator}' renders {network.resolution}x{network.resolution}: set 'resolution' in the manifest"
        )
    load_perceptual(perceptual)
    method, encoder = choose_method(method, manifest, generator, encoder)
    return Networks(generator, perceptual, encoder, method)


@contextmanager
def build_of(run: RunOptions, label: str | None, retry_failed: bool, dry_run: bool) -> "Iterator[Build]":
    """The build that is begun or goes on; a dry run begins it where nobody sees it, and lists nothing anew."""
    from contextlib import ExitStack
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from pipeline.build import build_place, resolve_build
    from pipeline.listing import create_build, rescan_build

    if run.dataset is None:
        build = resolve_build(None, run.build)
        yield build if dry_run else rescan_build(build, retry_failed)
        return
    root = build_place(run.dataset, run.build)
    with ExitStack() as stack:
        if dry_run and (run.fresh or not (root / "samples.parquet").exists()):
            root = Path(stack.enter_context(TemporaryDirectory())) / root.name
        yield create_build(
            root, run.dataset, label=label, fresh=run.fresh, rescan=not dry_run, retry_failed=retry_failed
        )


def invert(
    build: "Build", run: RunOptions, config: InvertConfig, networks: Networks, compiled: bool, dry_run: bool
) -> dict[str, Any]:
    """Invert the images of a build, or say what that will take."""
    from dataclasses import replace

    from pipeline.capacity import measure, settled_size, show_estimates, task_size, wanted_memory
    from pipeline.execute import Execution, workers_at_work
    from pipeline.generators import open_generator
    from pipeline.listing import skipped_notes
    from pipeline.run import left_to_do, run_stage
    from stages.invert.compiled import require_compiler
    from stages.invert.estimate import estimate, work_of
    from stages.invert.probing import prepare, probes_to_take
    from stages.invert.stage import Invert

    generator, perceptual, encoder = networks.generator, networks.perceptual, networks.encoder
    network = open_generator(generator).network
    for note in (*build.about.notes, *skipped_notes(build)):
        click.echo(f"Note: {note}", err=True)
    if compiled:
        require_compiler()
    memory = wanted_memory(generator, perceptual, run.device, run.batch_size)
    execution = Execution(run.workers, run.scheduler, run.device, memory=memory)
    config = replace(config, method=networks.method).settled(network.w_dim)
    size = settled_size(config.chunk_size, build, "invert", run.fresh)
    step_seconds = None
    if dry_run or not size:
        found = measure(execution, generator, perceptual, run.batch_size)
        step_seconds = found.rates.gradient_step
        size = size or task_size(found.seconds(work_of(config)), found, network.resolution)
    config = replace(config, chunk_size=size)
    stage = Invert(config, generator, perceptual, encoder, run.limit, run.device, run.batch_size, compiled)
    if dry_run:
        tasks = left_to_do(stage, build, stage.chunks(build), run.fresh)
        workers = workers_at_work(execution, len(tasks))
        probes = probes_to_take(build, config, open_generator(generator))
        plan = estimate(config, network, found, sum(map(len, tasks)), len(tasks), workers, probes)
        return show_estimates(f"{build.manifest.name} into {generator}", {}, [plan], found.device, run.as_json)
    with build.lock():
        if config.method not in ("given", "encoder"):
            prepare(build, config, generator, perceptual, execution, run.batch_size, step_seconds)
        summary = run_stage(stage, build, execution, fresh=run.fresh)
    return show_summary(summary, run.as_json)


def choose_method(
    method: str, manifest: "DatasetManifest", generator: str, encoder: str | None
) -> tuple[str, str | None]:
    """What `auto` means for this dataset, and the encoder of the methods that have one.

    Raises:
        ManifestError: the method needs an encoder, and none is named.
    """
    from pipeline.errors import ManifestError

    if encoder is None and generator == manifest.generator:
        encoder = manifest.encoder
    if method == "auto":
        method = "given" if manifest.format == "dmat" else "lpips" if encoder is None else "hybrid"
    if method not in ("encoder", "hybrid"):
        return method, None
    if encoder is None:
        raise ManifestError(
            f"--method {method} needs an encoder for generator '{generator}': train one with "
            f"`pipeline train-encoder --dataset {manifest.name} --generator {generator}` and pass it with "
            f"--encoder, or use --method lpips"
        )
    return method, encoder
