"""`pipeline datasets`."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(as_json: bool) -> None:
    """List the declared datasets and whether their files are present.

    \b
        pipeline datasets
    """
    from pipeline.datasets import load_dataset
    from pipeline.manifest import manifest_names

    rows = []
    for name in manifest_names("datasets"):
        manifest, reader = load_dataset(name)
        rows.append(
            {
                "name": name,
                "format": manifest.format,
                "resolution": manifest.resolution,
                "generator": manifest.generator,
                "description": manifest.description,
                "problem": reader.problem(),
            }
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['name']}  ({row['format']}, {row['resolution']}x{row['resolution']})")
        click.echo(f"    {row['description']}")
        click.echo(f"    {'present' if row['problem'] is None else row['problem']}")
    click.echo("\nA dataset of your own is a manifest: pass --dataset path/to/NAME.toml (docs/datasets.md).")
