"""`pipeline directions`."""

import json
from typing import TYPE_CHECKING, Any

import click

from pipeline.options import build_options, config_options, show_summary
from stages.directions.config import DirectionsConfig

if TYPE_CHECKING:
    from pipeline.build import Build


@click.command()
@build_options
@click.option("--name", help="Name of the set of directions.  [default: the method]")
@click.option("--generator", help="Whose directions.  [default: that of the latents, or the dataset's]")
@click.option("--perceptual", help="Net that measures effects.  [default: the dataset's, or that of the latents]")
@click.option("--classifier", help="Also count the edits that change this classifier's prediction.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Images at once.  [default: by their size and the memory]"
)
@click.option("--fresh", is_flag=True, help="Find them anew.")
@click.option("--list", "listing", is_flag=True, help="List the sets that are there, and do nothing else.")
@config_options(DirectionsConfig)
def command(
    dataset: str | None,
    build: str | None,
    as_json: bool,
    name: str | None,
    generator: str | None,
    perceptual: str | None,
    classifier: str | None,
    device: str,
    batch_size: int | None,
    fresh: bool,
    listing: bool,
    config: DirectionsConfig,
) -> Any:
    """Find directions of w whose edits change an image, and measure what they change.

    Writes BUILD/directions.zarr/NAME, and pictures of the edits into BUILD/directions/NAME.

    \b
        pipeline directions --dataset color-digits
        pipeline directions --method pca --ranges 0-4,5-7 --classifier vgg5.toml
        pipeline directions --list
    """
    from pipeline.build import resolve_build

    target = resolve_build(dataset, build)
    if listing:
        return list_sets(target, as_json)

    from pipeline.batches import render_slots
    from pipeline.classifiers import load_classifier
    from pipeline.devices import resolve_device, use_one_thread
    from pipeline.errors import ManifestError
    from pipeline.generators import open_generator
    from pipeline.latents import check_name, perceptual_of
    from stages.directions.run import Parts, find_directions

    name = check_name(name or config.method)
    where = resolve_device(device)
    use_one_thread()
    perceptual = perceptual or target.manifest.perceptual
    if perceptual is None and target.latents_path.exists():
        perceptual = perceptual_of(target)
    if perceptual is None:
        raise ManifestError(f"dataset '{target.manifest.name}' names no perceptual: pass --perceptual NAME")
    loaded = open_generator(generator or generator_for(target), where.type)
    judge = None
    if classifier:
        judge = load_classifier(classifier, tuple(target.classes), loaded.network.resolution, where.type)
    with target.lock():
        slots = render_slots(batch_size, generator or generator_for(target), where)
        parts = Parts(loaded, perceptual, judge, where, slots)
        summary = find_directions(target, name, config, parts, fresh)
    return show_summary(summary, as_json)


def generator_for(build: "Build") -> str:
    """The generator of the latents, or else the one the dataset names."""
    from pipeline.errors import ManifestError
    from pipeline.latents import generator_of

    if build.latents_path.exists():
        return generator_of(build)
    if build.manifest.generator is None:
        raise ManifestError(f"dataset '{build.manifest.name}' names no generator: pass --generator NAME")
    return build.manifest.generator


def list_sets(build: "Build", as_json: bool) -> list[dict[str, Any]]:
    """Show the sets of a build: name, method, number of axes, and the edits that keep the label."""
    from pipeline.directions import list_directions, read_directions

    sets: list[dict[str, Any]] = []
    for name in list_directions(build):
        found = read_directions(build, name)
        irrelevant = [f"D(u{axis}, {first}-{last})" for axis, (first, last) in found.irrelevant()]
        sets.append({"name": name, "method": found.method, "axes": len(found.axes), "irrelevant": irrelevant})
    if as_json:
        click.echo(json.dumps(sets))
        return sets
    click.echo(f"{'name':<16} {'method':<6} {'axes':>4}  irrelevant edits, by effect")
    for row in sets:
        shown = ", ".join(row["irrelevant"]) or "none"
        click.echo(f"{row['name']:<16} {row['method']:<6} {row['axes']:>4}  {shown}")
    return sets
