"""`pipeline augment`."""

from dataclasses import replace
from typing import Any

import click

from pipeline.options import RunOptions, config_options, run_options, show_summary
from stages.augment.config import AugmentConfig


@click.command()
@run_options
@config_options(AugmentConfig)
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--name", help="Name of the variant set.  [default: the mode]")
def command(run: RunOptions, config: AugmentConfig, perceptual: str | None, name: str | None) -> dict[str, Any]:
    """Precompute variants of the inverted samples.

    \b
        pipeline augment --mode randmix
        pipeline augment --mode mix --variants 8 --name mix8 --dataset color-digits
        pipeline augment --mode advmix --classifier builds/color-digits/evaluate/classifiers/nominal-0.toml
    """
    from pipeline.build import resolve_build
    from pipeline.classifiers.loading import absolute_spec
    from pipeline.execute import Execution
    from pipeline.generators import open_generator
    from pipeline.latents import check_name, generator_of, perceptual_of
    from pipeline.perceptual import load_perceptual
    from pipeline.run import run_stage
    from stages.augment.config import resolve
    from stages.augment.setup import check_mode
    from stages.augment.stage import Augment

    config = resolve(replace(config, classifier=absolute_spec(config.classifier)))
    build = resolve_build(run.dataset, run.build)
    generator = generator_of(build)
    perceptual = perceptual or perceptual_of(build)
    load_perceptual(perceptual)
    name = check_name(name or config.mode)
    stage = Augment(config, name, generator, perceptual, run.limit, run.device, run.batch_size)
    check_mode(config, build, open_generator(generator), stage.layers())
    stage.split_rows(build)
    with build.lock():
        execution = Execution(run.workers, run.scheduler, run.device)
        summary = run_stage(stage, build, execution, fresh=run.fresh, unit="variants")
    return show_summary(summary, run.as_json)
