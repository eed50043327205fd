"""`pipeline invert`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pipeline.options import RunOptions, config_options, dry_run_option, run_options, show_summary
from stages.invert.config import InvertConfig

if TYPE_CHECKING:
    from pipeline.build import Build
    from pipeline.manifest import DatasetManifest


@click.command()
@run_options
@config_options(InvertConfig)
@click.option("--generator", help="Generator to invert into.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--encoder", help="Encoder of the methods `encoder` and `hybrid`.  [default: the dataset's]")
@click.option("--compile", "compiled", is_flag=True, help="Fuse kernels with torch.compile: a minute, then faster.")
@click.option("--label", help="Attribute that is the label.  [default: the dataset's]")
@dry_run_option
def command(
    run: RunOptions,
    config: InvertConfig,
    generator: str | None,
    perceptual: str | None,
    encoder: str | None,
    compiled: bool,
    label: str | None,
    dry_run: bool,
) -> dict[str, Any]:
    """Project a dataset's images into W+ and store the latents in Zarr.

    The first stage: it begins the build.

    \b
        pipeline invert --dataset color-digits
        pipeline invert --dataset color-digits --limit 64 --method algorithm1 --build builds/few-algorithm1
        pipeline invert --dataset color-digits --dry-run
    """
    with build_of(run, label, dry_run) as build:
        return invert(build, run, config, generator, perceptual, encoder, compiled, dry_run)


@contextmanager
def build_of(run: RunOptions, label: str | None, dry_run: bool) -> "Iterator[Build]":
    """The build that is begun or goes on; a dry run begins it where nobody sees it."""
    from contextlib import ExitStack
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from pipeline.build import build_place, create_build, resolve_build

    if run.dataset is None:
        build = resolve_build(None, run.build)
        build.manifest  # noqa: B018 (fails here, in one sentence, if build.toml is damaged)
        yield build
        return
    root = build_place(run.dataset, run.build)
    with ExitStack() as stack:
        if dry_run and (run.fresh or not (root / "samples.parquet").exists()):
            root = Path(stack.enter_context(TemporaryDirectory())) / root.name
        yield create_build(root, run.dataset, label=label, fresh=run.fresh)


def invert(
    build: "Build",
    run: RunOptions,
    config: InvertConfig,
    generator: str | None,
    perceptual: str | None,
    encoder: str | None,
    compiled: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Invert the images of a build, or say what that will take."""
    from dataclasses import replace

    from pipeline.capacity import measure, settled_size, show_estimates, task_size, wanted_memory
    from pipeline.errors import ManifestError
    from pipeline.execute import Execution, workers_at_work
    from pipeline.generators import open_generator
    from pipeline.perceptual import load_perceptual
    from pipeline.run import left_to_do, run_stage
    from pipeline.samples import read_notes
    from stages.invert.compiled import require_compiler
    from stages.invert.estimate import estimate, work_of
    from stages.invert.probing import prepare, probes_to_take
    from stages.invert.stage import Invert

    manifest = build.manifest
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
    method, encoder = choose_method(config.method, manifest, generator, encoder)
    for note in read_notes(build.samples_path):
        click.echo(f"Note: {note}", err=True)
    if compiled:
        require_compiler()
    memory = wanted_memory(generator, perceptual, run.device, run.batch_size)
    execution = Execution(run.workers, run.scheduler, run.device, memory=memory)
    config = replace(config, method=method).settled(network.w_dim)
    size = settled_size(config.chunk_size, build, "invert", run.fresh)
    step_seconds = None
    if dry_run or not size:
        found = measure(execution, generator, perceptual, run.batch_size)
        step_seconds = found.rates.gradient_step
        size = size or task_size(found.seconds(work_of(config)), found, network.resolution)
    config = replace(config, chunk_size=size)
    stage = Invert(config, generator, perceptual, encoder, run.limit, run.device, run.batch_size, compiled)
    if dry_run:
        chunks = left_to_do(stage, build, stage.chunks(build), run.fresh)
        workers = workers_at_work(execution, len(chunks))
        probes = probes_to_take(build, config, open_generator(generator))
        plan = estimate(config, network, found, sum(map(len, chunks)), len(chunks), workers, probes)
        return show_estimates(f"{manifest.name} into {generator}", {}, [plan], found.device, run.as_json)
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
