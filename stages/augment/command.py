"""`pipeline augment`."""

from typing import Any

import click

from pipeline.options import RunOptions, config_options, run_options, show_summary
from stages.augment.config import AugmentConfig


@click.command()
@run_options
@config_options(AugmentConfig)
@click.option("--name", help="Name of the variant set.  [default: the mode]")
def command(run: RunOptions, config: AugmentConfig, name: str | None) -> dict[str, Any]:
    """Precompute variants of the inverted samples.

    \b
        pipeline augment --mode randmix
        pipeline augment --mode mix --variants 8 --name mix8 --dataset color-digits
    """
    from pipeline.build import resolve_build
    from pipeline.execute import Execution
    from pipeline.latents import check_name, generator_of
    from pipeline.run import run_stage
    from stages.augment.stage import Augment

    build = resolve_build(run.dataset, run.build)
    stage = Augment(
        config, check_name(name or config.mode), generator_of(build), run.limit, run.device, run.batch_size
    )
    with build.lock():
        execution = Execution(run.workers, run.scheduler, run.device)
        summary = run_stage(stage, build, execution, fresh=run.fresh, unit="variants")
    return show_summary(summary, run.as_json)
