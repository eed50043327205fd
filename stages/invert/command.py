"""`pipeline invert`."""

from typing import TYPE_CHECKING, Any

import click

from pipeline.options import RunOptions, config_options, run_options, show_summary
from stages.invert.config import InvertConfig

if TYPE_CHECKING:
    from pipeline.manifest import DatasetManifest


@click.command()
@run_options
@config_options(InvertConfig)
@click.option("--generator", help="Generator to invert into.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--encoder", help="Encoder of the methods `encoder` and `hybrid`.  [default: the dataset's]")
@click.option("--compile", "compiled", is_flag=True, help="Fuse kernels with torch.compile: a minute, then faster.")
@click.option("--label", help="Attribute that is the label.  [default: the dataset's]")
def command(
    run: RunOptions,
    config: InvertConfig,
    generator: str | None,
    perceptual: str | None,
    encoder: str | None,
    compiled: bool,
    label: str | None,
) -> dict[str, Any]:
    """Project a dataset's images into W+ and store the latents in Zarr.

    The first stage: it begins the build.

    \b
        pipeline invert --dataset color-digits
        pipeline invert --dataset color-digits --limit 64 --method algorithm1 --build builds/few-algorithm1
    """
    from dataclasses import replace

    from pipeline.build import BUILDS, create_build, resolve_build
    from pipeline.errors import ManifestError
    from pipeline.execute import Execution
    from pipeline.generators import open_generator
    from pipeline.perceptual import load_perceptual
    from pipeline.run import run_stage
    from pipeline.samples import read_notes
    from stages.invert.compiled import require_compiler
    from stages.invert.stage import Invert

    if run.dataset is None:
        build = resolve_build(None, run.build)
        build.manifest  # noqa: B018 (fails here, in one sentence, if build.toml is damaged)
    else:
        from pathlib import Path

        root = Path(run.build) if run.build else BUILDS / Path(run.dataset).stem
        build = create_build(root, run.dataset, label=label, fresh=run.fresh)
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
    config = replace(config, method=method)
    stage = Invert(config, generator, perceptual, encoder, run.limit, run.device, run.batch_size, compiled)
    with build.lock():
        execution = Execution(run.workers, run.scheduler, run.device)
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
