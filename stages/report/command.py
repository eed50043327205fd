"""`pipeline report`."""

import json

import click

from pipeline.options import build_options


@click.command()
@build_options
@click.option(
    "--samples", type=click.IntRange(min=1), default=16, show_default=True, help="Samples in each gallery."
)
@click.option(
    "--per-set", type=click.IntRange(min=1), default=4, show_default=True, help="Variants shown of each set."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the choice of samples.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def command(
    dataset: str | None, build: str | None, samples: int, per_set: int, seed: int, device: str, as_json: bool
) -> None:
    """Write one self-contained HTML page that shows a build.

    \b
        pipeline report --dataset color-digits
    """
    from pipeline.belongings import writing
    from pipeline.build import resolve_build
    from pipeline.files import write_bytes
    from pipeline.images import encode_png
    from stages.report.gather import gather
    from stages.report.page import overview, render_page

    target = resolve_build(dataset, build)
    contents = gather(target, samples, per_set, seed, device)
    picture = target.report_path.with_name("overview.png")
    with writing(target, "report", [target.report_path, picture]):
        write_bytes(target.report_path, render_page(contents).encode())
        write_bytes(picture, encode_png(overview(contents.gallery)))
    if as_json:
        click.echo(json.dumps({"page": str(target.report_path), "picture": str(picture)}))
    else:
        click.echo(f"  page     {target.report_path}\n  picture  {picture}")
