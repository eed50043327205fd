"""`pipeline demo`: the whole way on the embedded digits."""

import time

import click

from pipeline.compose import run_command
from pipeline.files import user_path

STEPS: tuple[tuple[str, str, list[str]], ...] = (
    ("invert", "Finding the W+ latents behind 1,797 handwritten digits", []),
    ("augment", "Mixing random fine styles in (RandMix)", ["--mode", "randmix"]),
    ("augment", "Mixing fine styles of other digits in", ["--mode", "mix"]),
    ("shard", "Rendering and packing training shards", ["--variants", "randmix,mix"]),
    ("report", "Drawing the report", []),
    ("verify", "Reading everything back", []),
)


@click.command()
@click.option("--build", default="builds/color-digits", show_default=True, help="Where to build.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many digits.")
@click.option(
    "--workers", type=click.IntRange(min=0), help="Processes; 0 computes in this one.  [default: one a core]"
)
@click.pass_context
def command(ctx: click.Context, build: str, limit: int | None, workers: int | None) -> None:
    """Go the whole way on embedded data: invert, mix, shard, report, verify.

    Needs no download; takes some minutes on two cores.

    \b
        pipeline demo
    """
    began = time.monotonic()
    for number, (name, title, extra) in enumerate(STEPS, start=1):
        click.echo(f"\n[{number}/{len(STEPS)}] {title}\n      pipeline {name} {' '.join(extra)}".rstrip())
        arguments = ["--dataset", "color-digits", "--build", build, *extra]
        if name in ("invert", "augment", "shard"):
            arguments += ["--workers", str(workers)] if workers is not None else []
            arguments += ["--limit", str(limit)] if limit is not None and name == "invert" else []
        run_command(ctx, name, arguments)
    root = user_path(build)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    click.echo(
        f"\nDone in {minutes} min {seconds} s. Where to look:\n"
        f"  {root / 'report' / 'index.html'}   originals, reconstructions, variants, measures\n"
        f"  {root / 'shards' / 'randmix-mix'}   training shards: wds/*.tar, parquet/*.parquet, README.md\n"
        f"  {root / 'latents.zarr'}   W+ latents (zarr.open or xarray.open_zarr)\n"
        f"  {root / 'samples.parquet'}   a row for each digit\n"
        f"Interrupted at any point, `pipeline demo` goes on from there."
    )
