"""`pipeline augment`."""

from dataclasses import replace
from typing import Any

import click

from pipeline.options import RunOptions, config_options, dry_run_option, run_options, show_summary
from stages.augment.config import AugmentConfig


@click.command()
@run_options
@config_options(AugmentConfig)
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--name", help="Name of the variant set.  [default: the mode]")
@dry_run_option
def command(
    run: RunOptions, config: AugmentConfig, perceptual: str | None, name: str | None, dry_run: bool
) -> dict[str, Any]:
    """Precompute variants of the inverted samples.

    \b
        pipeline augment --mode randmix
        pipeline augment --mode mix --variants 8 --name mix8 --dataset color-digits
        pipeline augment --mode advmix --classifier builds/color-digits/evaluate/classifiers/nominal-0.toml
    """
    from pipeline.build import resolve_build
    from pipeline.capacity import measure, settled_size, show_estimates, task_size, wanted_memory
    from pipeline.classifiers.loading import absolute_spec
    from pipeline.execute import Execution, workers_at_work
    from pipeline.generators import open_generator
    from pipeline.latents import check_name, generator_of, perceptual_of
    from pipeline.perceptual import load_perceptual
    from pipeline.run import left_to_do, run_stage
    from pipeline.sources import missing_note, missing_sources, stored_originals
    from stages.augment.config import resolve
    from stages.augment.estimate import estimate, work_of
    from stages.augment.modes import MODES
    from stages.augment.setup import check_mode
    from stages.augment.stage import Augment

    if config.classifier is not None:
        config = replace(config, classifier=absolute_spec(config.classifier))
    config = resolve(config)
    build = resolve_build(run.dataset, run.build)
    generator = generator_of(build)
    perceptual = perceptual or perceptual_of(build)
    load_perceptual(perceptual)
    name = check_name(name or config.mode)
    stage = Augment(config, name, generator, perceptual, run.limit, run.device, run.batch_size)
    check_mode(config, build, open_generator(generator), stage.layers())
    rows = stage.split_rows(build)
    if MODES[config.mode].originals and not stored_originals(build):
        rows = rows[: run.limit] if run.limit else rows
        missing = missing_sources(build, rows[stage.usable(build.samples("status")["status"])[rows]])
        stage = replace(stage, missing=tuple(sorted(missing)))
        if note := missing_note(build, missing, "they get no variants"):
            click.echo(f"Note: {note}", err=True)
    memory = wanted_memory(generator, perceptual, run.device, run.batch_size)
    execution = Execution(run.workers, run.scheduler, run.device, memory=memory)
    network = open_generator(generator).network
    size = settled_size(config.chunk_size, build, stage.name, run.fresh)
    if dry_run or not size:
        found = measure(execution, generator, perceptual, run.batch_size)
        size = size or task_size(found.seconds(work_of(config)), found, network.resolution)
    config = replace(config, chunk_size=size)
    stage = replace(stage, config=config)
    if dry_run:
        tasks = left_to_do(stage, build, stage.chunks(build), run.fresh)
        samples, workers = sum(map(len, tasks)) // config.variants, workers_at_work(execution, len(tasks))
        classes = len(build.classes)
        plan = estimate(config, network, classes, found, samples, len(tasks), workers)
        return show_estimates(f"{config.mode} of {build.manifest.name}", {}, [plan], found.device, run.as_json)
    with build.lock():
        summary = run_stage(stage, build, execution, fresh=run.fresh, unit="variants")
    return show_summary(summary, run.as_json)
