"""`pipeline shard`."""

from typing import TYPE_CHECKING, Any

import click

from pipeline.options import RunOptions, config_options, dry_run_option, run_options, show_summary
from stages.shard.config import ShardConfig

if TYPE_CHECKING:
    from pipeline.build import Build


@click.command()
@run_options
@config_options(ShardConfig)
@click.option(
    "--variants",
    help="Variant sets to include, separated by commas.  [default: the only one there is; or `none`]",
)
@click.option("--name", help="Name of the shard set.  [default: the variant sets' names]")
@dry_run_option
def command(
    run: RunOptions, config: ShardConfig, variants: str | None, name: str | None, dry_run: bool
) -> dict[str, Any]:
    """Render samples and variants into training shards.

    \b
        pipeline shard --variants randmix
        pipeline shard --variants randmix,mix --base reconstruction --format parquet --name both
        pipeline shard --variants none
    """
    from pipeline.build import resolve_build
    from pipeline.capacity import measure, show_estimates
    from pipeline.datasets.ids import short_id
    from pipeline.errors import BuildError
    from pipeline.execute import Execution, workers_at_work
    from pipeline.latents import check_name, generator_of, perceptual_of
    from pipeline.run import left_to_do, run_stage
    from pipeline.shards import shard_formats
    from stages.shard.estimate import estimate
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
    name = check_name(name or short_id("-".join(chosen)) or config.base)
    check_variants(build, chosen, run.limit)
    missing = find_missing(build, config, run.limit)
    stage = Shard(config, name, tuple(chosen), generator, run.limit, run.device, run.batch_size, tuple(missing))
    for writer in shard_formats(config.format).values():
        writer.check(stage.info(build))
    execution = Execution(run.workers, run.scheduler, run.device)
    if dry_run:
        found = measure(execution, generator, perceptual_of(build), run.batch_size)
        chunks = [task.chunk for task in left_to_do(stage, build, stage.chunks(build), run.fresh)]
        plan = estimate(build, stage, found, chunks, workers_at_work(execution, len(chunks)))
        return show_estimates(f"shards/{name}", {}, [plan], found.device, run.as_json)
    with build.lock():
        summary = run_stage(stage, build, execution, fresh=run.fresh)
    return show_summary(summary, run.as_json)


def check_variants(build: "Build", names: list[str], limit: int | None) -> None:
    """Raise BuildError if variants of samples that are packed were made from other pictures."""
    import numpy as np

    from pipeline.errors import BuildError
    from pipeline.variants import outdated_note, outdated_sources
    from stages.shard.items import inverted_rows

    packed = np.flatnonzero(inverted_rows(build, limit))
    for name in names:
        rows = outdated_sources(build, name)
        rows = rows[np.isin(rows, packed) | (rows >= build.count())]
        if len(rows):
            raise BuildError(outdated_note(build, name, rows))


def find_missing(build: "Build", config: ShardConfig, limit: int | None) -> list[int]:
    """Rows of samples whose own pixels are wanted and cannot be had any more; says so.

    Raises:
        BuildError: sources have changed since they were inverted, or none is there.
    """
    import numpy as np

    from pipeline.sources import missing_note, missing_sources, stored_originals
    from stages.shard.items import inverted_rows

    if not (config.originals or config.base == "original") or stored_originals(build):
        return []
    missing = missing_sources(build, np.flatnonzero(inverted_rows(build, limit)))
    consequence = "left out" if config.originals else "left out; their variants stay"
    if note := missing_note(build, missing, consequence):
        click.echo(f"Note: {note}", err=True)
    return sorted(missing)
