"""`pipeline verify`."""

import json
import sys

import click

from pipeline.options import build_options


@click.command()
@build_options
def command(dataset: str | None, build: str | None, as_json: bool) -> None:
    """Rehash and recount a whole build; exit with 1 if anything is wrong.

    \b
        pipeline verify --dataset color-digits
    """
    from pipeline.build import resolve_build
    from pipeline.progress import Progress
    from pipeline.verify import verify_build

    target = resolve_build(dataset, build)
    total = sum(entry.get("chunks", 0) for entry in target.info().get("stages", {}).values())
    with target.lock(), Progress("verify", total, "chunks") as progress:
        result = verify_build(target, lambda: progress.advance(1))
    if as_json:
        click.echo(json.dumps(result))
    else:
        for problem in result["problems"]:
            click.echo(f"  {problem}")
        found = len(result["problems"])
        click.echo(
            f"{target.root}: {result['samples']:,} samples, {result['chunks']:,} chunks, "
            f"{result['shard_sets']} shard sets checked; "
            + ("all is as it was written" if not found else f"{found} problem{'s' * (found > 1)}")
        )
    sys.exit(1 if result["problems"] else 0)
