"""`pipeline status`."""

import json
from typing import Any

import click

from pipeline.options import build_options


@click.command()
@build_options
def command(dataset: str | None, build: str | None, as_json: bool) -> None:
    """Show what of a build is done, and what is left.

    \b
        pipeline status --dataset color-digits
    """
    from pipeline.build import resolve_build
    from pipeline.ledger import data_digests, look_again
    from pipeline.verify import stale_reasons

    look_again()
    target = resolve_build(dataset, build)
    info, samples = target.info(), target.samples("id", "status", "error")
    counts = {str(name): int(count) for name, count in samples["status"].value_counts().items()}
    stages: list[dict[str, Any]] = []
    for name, entry in info.get("stages", {}).items():
        recorded = data_digests(target, name)
        finished = "finished" in entry and len(recorded) >= entry["chunks"]
        stages.append(
            {
                "stage": name,
                "state": "finished" if finished else "begun",
                "chunks": len(recorded),
                "rows": sum(stop - start for start, stop, _ in recorded),
                "started": entry["started"],
                "finished": entry.get("finished", ""),
                "stale": stale_reasons(target, name, entry),
            }
        )
    result = {
        "build": str(target.root),
        "dataset": target.manifest.name,
        "samples": len(samples),
        "by_status": counts,
        "stages": stages,
        "variants": target.variant_names(),
        "shards": target.shard_names(),
    }
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"{target.root}: {target.manifest.name}, {len(samples):,} samples")
    click.echo("  " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))
    for stage in stages:
        click.echo(
            f"  {stage['stage']:<20} {stage['state']:<9} {stage['chunks']:>5} chunks, {stage['rows']:>8,} rows"
            f"  {stage['finished'] or 'since ' + stage['started']}"
        )
        for reason in stage["stale"]:
            click.echo(f"  {'':<20} {reason}")
    failed = samples[samples["status"] == "failed"]
    for _, row in failed.head(10).iterrows():
        click.echo(f"  failed: {row['id']}: {row['error']}")
    if len(failed) > 10:
        click.echo(f"  … and {len(failed) - 10} more, in {target.samples_path}")
