"""`pipeline evaluate`."""

import json
from typing import Any

import click

from pipeline.options import RunOptions, config_options, run_options
from stages.evaluate.config import EvaluateConfig


@click.command()
@run_options
@config_options(EvaluateConfig)
@click.option(
    "--shards",
    help="Rows of the table, separated by commas: a shard set's name, or one with a baseline after a plus "
    "(+mixup, +at4, +at8, +om-at, +dmat, +oracle).  [default: every complete set]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Trainings of each row.")
@click.option(
    "--attacks",
    default="clean",
    show_default=True,
    help="What to measure: clean, pgd, om-pgd, advmix, with commas.",
)
@click.option(
    "--name", help="Write to BUILD/evaluate-NAME, beside what other settings gave.  [default: BUILD/evaluate]"
)
def command(
    run: RunOptions, config: EvaluateConfig, shards: str | None, seeds: int, attacks: str, name: str | None
) -> dict[str, Any]:
    """Train classifiers on shard sets and measure them on the test split, as it is and under attack.

    \b
        pipeline shard --variants none --name nominal
        pipeline evaluate --shards nominal,nominal+mixup,randmix --attacks clean,pgd,advmix
    """
    from dataclasses import asdict

    from pipeline.belongings import writing
    from pipeline.build import resolve_build
    from pipeline.config import stored_settings
    from pipeline.devices import resolve_device
    from pipeline.execute import Execution
    from pipeline.files import remove, write_bytes
    from pipeline.run import run_stage
    from stages.evaluate.page import render_page
    from stages.evaluate.results import as_csv, as_json, as_table, cells, gather
    from stages.evaluate.setup import make_stages
    from stages.evaluate.sizes import worker_memory
    from stages.evaluate.stage import decoded_folder

    build = resolve_build(run.dataset, run.build)
    stages = make_stages(build, run, config, shards, seeds, attacks, name)
    with build.lock():
        remove(decoded_folder(build))  # of a killed run
        size = config.input_size or stages[0].resolution
        memory = 0 if run.scheduler else worker_memory(size, resolve_device(run.device))
        execution = Execution(run.workers, run.scheduler, run.device, memory=memory)
        for stage in stages:
            stage.plan(build)  # what a row lacks is told before any is trained, or deleted
        for stage in stages:
            run_stage(stage, build, execution, fresh=run.fresh, unit="classifiers")
        remove(decoded_folder(build))
        measures = gather(build, stages)
        table, folder = cells(measures), build.root / stages[0].folder
        settings = stored_settings(config)
        results = {
            folder / "results.csv": as_csv(measures),
            folder / "results.json": as_json(measures, table, settings),
            folder / "results.html": render_page(build.manifest.name, table, settings),
        }
        with writing(build, stages[0].folder, results):
            for path, text in results.items():
                write_bytes(path, text.encode())
    summary = {"results": str(folder / "results.html"), "table": [asdict(cell) for cell in table]}
    click.echo(json.dumps(summary) if run.as_json else f"{as_table(table)}\n  page  {summary['results']}")
    return summary
