"""`pipeline verify`."""

import json
import sys

import click

from pipeline.options import build_options


@click.command()
@build_options
@click.option("--sources", is_flag=True, help="Read the dataset's files too, and compare them with their digests.")
@click.option("--repair", is_flag=True, help="Mark what is damaged as not done; then say which commands mend it.")
def command(dataset: str | None, build: str | None, as_json: bool, sources: bool, repair: bool) -> None:
    """Rehash and recount a whole build; exit with 1 if anything is wrong.

    Files that nobody here has written are listed, and count as nothing wrong.

    \b
        pipeline verify --dataset color-digits
        pipeline verify --dataset color-digits --sources --repair
    """
    from pipeline.build import find_build
    from pipeline.errors import BuildError
    from pipeline.progress import Progress
    from pipeline.repair import repair_build
    from pipeline.verify import check_sources, problem_of_lock, verify_build

    target = find_build(dataset, build)
    lock = problem_of_lock(target)
    try:
        stages = target.last_info().get("stages", {})
    except BuildError:
        stages = {}
    total = sum(entry.get("chunks", 0) for entry in stages.values())
    with target.lock():
        with Progress("verify", total, "chunks") as progress:
            checked = verify_build(target, lambda: progress.advance(1))
        if lock is not None:
            checked.add(lock)
        repaired = repair_build(target, checked) if repair else []
        if sources:
            check_sources(target, checked)
    result = {
        "build": str(target.root),
        "samples": checked.samples,
        "chunks": checked.chunks,
        "shard_sets": checked.shard_sets,
        "problems": [finding.sentence for finding in checked.findings],
        "strangers": checked.strangers,
        "repaired": repaired,
    }
    if as_json:
        click.echo(json.dumps(result))
    else:
        for finding in checked.findings:
            click.echo(f"  {finding.sentence}")
        for name in checked.strangers:
            click.echo(f"  not ours, left alone: {name}")
        for sentence in repaired:
            click.echo(f"  {sentence}")
        found = len(checked.findings)
        click.echo(
            f"{target.root}: {checked.samples:,} samples, {checked.chunks:,} chunks, "
            f"{checked.shard_sets} shard sets checked; "
            + ("all is as it was written" if not found else f"{found} problem{'s' * (found > 1)}")
        )
    sys.exit(1 if checked.findings else 0)
