"""`pipeline weights`: import, list and check the weights of generators and encoders."""

import json
import sys
from typing import Any

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Import, list and check the weights of generators and encoders.

    \b
        pipeline weights list
        pipeline weights import karras2019stylegan-celebahq-1024x1024.pkl --as celebahq-1024
        pipeline weights check
    """


@command.command("import")
@click.argument("file", type=click.Path(path_type=str))
@click.option("--as", "name", required=True, help="The name to use it under; `pipeline weights list` has some.")
@click.option(
    "--fine-layers",
    help="0-based w+ layers that do not carry the label, as 10-17.  [default: the declared, or 128x128 and finer]",
)
@click.option("--generator", help="Imported generator that an encoder is for.  [default: the one in its file]")
@click.option("--force", is_flag=True, help="Replace what was imported under this name.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def import_command(
    file: str, name: str, fine_layers: str | None, generator: str | None, force: bool, as_json: bool
) -> None:
    """Convert a downloaded checkpoint to safetensors; nothing in it is run.

    \b
        pipeline weights import karras2019stylegan-celebahq-1024x1024.pkl --as celebahq-1024
        pipeline weights import e4e_ffhq_encode.pt --as e4e-ffhq

    Its format is recognised by its content (docs/generators.md lists them). A checkpoint of pSp, e4e or ReStyle
    becomes an encoder, and a generator unless that is imported already.
    """
    from pipeline.encoders.importing import import_weights
    from pipeline.files import expanded
    from pipeline.generators.checkpoints.importing import parse_layers
    from pipeline.options import show_summary

    layers = None if fine_layers is None else parse_layers(fine_layers)
    imported = import_weights(expanded(file), name, fine_layers=layers, generator=generator, force=force)
    if not as_json:
        click.echo(
            f"{name} was imported from this very file before." if imported.repeated else f"{name} is imported."
        )
    summary = imported.summary()
    notes = [] if as_json else summary.pop("notes")
    show_summary(summary, as_json)
    for note in notes:
        click.echo(f"Note: {note}.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_command(as_json: bool) -> None:
    """List the declared generators and encoders, and what those without weights need.

    \b
        pipeline weights list
    """
    from pipeline.generators.checkpoints.inventory import inventory
    from pipeline.manifest import weights_folder

    rows = inventory()
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['name']}  ({what(row)})")
        if row.get("description"):
            click.echo(f"    {row['description']}")
        click.echo(f"    present: {row['weights']}" if row["present"] else f"    {row['problem']}")
    click.echo(f"\nImported weights are in {weights_folder()} ($ONMANIFOLD_WEIGHTS names another folder).")


def what(row: dict[str, Any]) -> str:
    """What a row of the list is, in a few words."""
    if row["kind"] == "encoder":
        return f"encoder of {row['generator']}" if row.get("generator") else "encoder"
    return f"{row['family']}, {row['resolution']}x{row['resolution']}" if "family" in row else "generator"


@command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def check_command(names: tuple[str, ...], as_json: bool) -> None:
    """Rehash weights; exit with 1 if any are not those that were declared.

    \b
        pipeline weights check celebahq-1024
    """
    from pipeline.generators.checkpoints.inventory import check

    rows = check(names)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            kind = " (encoder)" if row["kind"] == "encoder" else ""
            click.echo(f"{row['name']}{kind}: {row['problem'] or 'as declared'}")
    sys.exit(1 if any(row["problem"] for row in rows) else 0)
