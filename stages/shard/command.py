"""`pipeline shard`."""

from typing import Any

import click

from pipeline.options import RunOptions, config_options, run_options, show_summary
from stages.shard.config import ShardConfig


@click.command()
@run_options
@config_options(ShardConfig)
@click.option(
    "--variants",
    help="Variant sets to include, separated by commas.  [default: the only one there is; or `none`]",
)
@click.option("--name", help="Name of the shard set.  [default: the variant sets' names]")
def command(run: RunOptions, config: ShardConfig, variants: str | None, name: str | None) -> dict[str, Any]:
    """Render samples and variants into training shards.

    \b
        pipeline shard --variants randmix
        pipeline shard --variants randmix,mix --base reconstruction --format parquet --name both
        pipeline shard --variants none
    """
    from pipeline.build import resolve_build
    from pipeline.errors import BuildError
    from pipeline.execute import Execution
    from pipeline.latents import check_name, generator_of
    from pipeline.run import run_stage
    from pipeline.shards import shard_formats
    from stages.shard.stage import Shard

    shard_formats(config.format)
    build = resolve_build(run.dataset, run.build)
    generator = generator_of(build)
    present = build.variant_names()
    if variants is None and len(present) > 1:
        raise BuildError(f"which variants? name some with --variants; here are: {', '.join(present)} (or none)")
    chosen = present if variants is None else [] if variants == "none" else variants.split(",")
    unknown = [v for v in chosen if v not in present]
    if unknown:
        raise BuildError(
            f"no variant set named {', '.join(unknown)} in {build.root}; here are: {', '.join(present) or 'none'}; "
            f"make one with `pipeline augment --mode randmix --name {unknown[0]}`"
        )
    name = check_name(name or "-".join(chosen) or config.base)
    stage = Shard(config, name, tuple(chosen), generator, run.limit, run.device, run.batch_size)
    for writer in shard_formats(config.format).values():
        writer.check(stage.info(build))
    with build.lock():
        execution = Execution(run.workers, run.scheduler, run.device)
        summary = run_stage(stage, build, execution, fresh=run.fresh)
    return show_summary(summary, run.as_json)
