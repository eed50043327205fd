"""`pipeline datasets`."""

import json
from typing import Any

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(name: str | None, as_json: bool) -> None:
    """List the declared datasets and whether their files are present; of one, say what is missing.

    \b
        pipeline datasets
        pipeline datasets celeba
    """
    from pipeline.manifest import manifest_names

    rows = [describe(each) for each in ([name] if name else manifest_names("datasets"))]
    if as_json:
        click.echo(json.dumps(rows))
    elif name:
        show_one(rows[0])
    else:
        show_all(rows)


def describe(name_or_path: str) -> dict[str, Any]:
    """What a manifest declares and what is missing."""
    from pipeline.datasets import load_dataset

    manifest, reader = load_dataset(name_or_path)
    return {
        **manifest.model_dump(include={"name", "format", "resolution", "generator", "perceptual", "label"}),
        **manifest.model_dump(include={"description", "licence", "homepage"}),
        "root": getattr(manifest, "root", None),
        "problem": reader.problem(),
    }


def show_all(rows: list[dict[str, Any]]) -> None:
    """A line for each dataset, and where to look for those that are missing."""
    from pipeline.datasets.files import data_places

    click.echo(f"{'':<10}{'name':<26}{'size':>5}  {'generator':<17}{'from'}")
    for row in rows:
        state = "present" if row["problem"] is None else "missing"
        generator = row["generator"] or "(train one)"
        click.echo(f"{state:<10}{row['name']:<26}{row['resolution']:>5}  {generator:<17}{row['homepage']}")
    if any(row["problem"] for row in rows):
        places = " and ".join(str(place) for place in data_places("NAME"))
        click.echo(f"\nLooked in {places}; ONMANIFOLD_DATA names another folder instead of the first.")
        click.echo("`pipeline datasets NAME` says what to download and how to lay it out.")
    click.echo("A dataset of your own is a manifest: pass --dataset path/to/NAME.toml (docs/datasets.md).")


def show_one(row: dict[str, Any]) -> None:
    """Everything of one dataset."""
    size = f"{row['resolution']}x{row['resolution']}"
    click.echo(f"{row['name']}: {row['description']}")
    facts = {
        "layout": row["format"],
        "size": size,
        "label": row["label"],
        "generator": row["generator"] or "none; train one with `pipeline train-generator`",
        "perceptual": row["perceptual"],
        "licence": row["licence"],
        "homepage": row["homepage"],
        "files": row["root"] if row["problem"] is None else None,
    }
    for key, value in facts.items():
        if value:
            click.echo(f"    {key:<12}{value}")
    click.echo(f"    {'state':<12}{'present' if row['problem'] is None else 'missing'}")
    if row["problem"]:
        click.echo(f"\n{row['problem']}")
