"""`pipeline build-om-imagenet`: select, take or train the generator, project, pack."""

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from pipeline.compose import run_command
from pipeline.options import RunOptions, config_options, dry_run_option, run_options, show_summary
from stages.om_imagenet.config import OmImageNetConfig

SHARDS = "on-manifold"


@click.command()
@run_options
@config_options(OmImageNetConfig)
@click.option("--generator", help="Generator to project into.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net that measures distance.  [default: the dataset's]")
@click.option("--label", help="Attribute that is the label.  [default: the dataset's]")
@click.option("--train", is_flag=True, help="First train a generator on the dataset's training split.")
@dry_run_option
@click.pass_context
def command(
    ctx: click.Context,
    run: RunOptions,
    config: OmImageNetConfig,
    generator: str | None,
    perceptual: str | None,
    label: str | None,
    train: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Build an on-manifold dataset: every image x with its latent w, g(w) and label y.

    Both splits are projected by LPIPS + L1 and stored in latents.zarr (`w`, `image` = g(w), `original` = x,
    `label`) and as shards. The default dataset is Mixed-10 of ImageNet; a dataset in the authors' own HDF5
    layout is taken over with the latents it has.

    \b
        pipeline build-om-imagenet --dry-run
        pipeline build-om-imagenet --dataset color-digits --build builds/om
        pipeline build-om-imagenet --dataset mine.toml --format webdataset,dmat --train
    """

    from pipeline.build import build_place
    from pipeline.datasets import load_dataset
    from pipeline.errors import ManifestError
    from pipeline.shards import shard_formats

    shard_formats(config.format)
    name = run.dataset or "imagenet-mixed10"
    root = build_place(name, run.build)
    manifest, _ = load_dataset(name, label)
    generator = str(root / "generator" / "generator.toml") if train else generator or manifest.generator
    perceptual = perceptual or manifest.perceptual
    if generator is None or perceptual is None:
        missing = "generator" if generator is None else "perceptual"
        raise ManifestError(
            f"dataset '{manifest.name}' names no {missing}: pass --{missing} NAME"
            + (", or --train to train one first" if generator is None else "")
        )
    if dry_run:
        return show_plan(name, label, generator, perceptual, config, run, train)

    where = ["--dataset", name, "--build", str(root)]
    chosen = ["--label", label] if label else []
    shared = shared_arguments(run)
    method = "given" if manifest.format == "dmat" else "lpips"
    steps: list[tuple[str, str, list[str]]] = [
        (
            "invert",
            "Projecting the images onto the manifold",
            ["--generator", generator, "--perceptual", perceptual, "--method", method, "--store-images",
             "--steps", str(config.steps), "--seed", str(config.seed), *chosen, *shared],
        ),
        (
            "shard",
            "Packing (w, g(w), x, y)",
            ["--variants", "none", "--base", "reconstruction", "--originals", "--name", SHARDS,
             "--format", config.format, "--seed", str(config.seed), *shared],
        ),
    ]  # fmt: skip
    if train:
        device = ["--device", run.device, *(["--fresh"] if run.fresh else [])]
        steps.insert(0, ("train-generator", "Training the generator on the training split", device))
    summaries = {}
    for number, (stage, title, extra) in enumerate(steps, start=1):
        click.echo(f"[{number}/{len(steps)}] {title}", err=True)
        with redirect_stdout(sys.stderr):
            summaries[stage] = run_command(ctx, stage, [*where, *extra])
    return show_summary(summary_of(root, summaries), run.as_json)


def shared_arguments(run: RunOptions) -> list[str]:
    """The shared options again, for another command."""
    values = {
        "--limit": run.limit,
        "--device": run.device,
        "--workers": run.workers,
        "--scheduler": run.scheduler,
        "--batch-size": run.batch_size,
    }
    given = [part for flag, value in values.items() if value is not None for part in (flag, str(value))]
    return given + (["--fresh"] if run.fresh else [])


def summary_of(root: Any, summaries: dict[str, Any]) -> dict[str, Any]:
    """What the set holds now."""
    from pipeline.build import open_build

    samples = open_build(root).samples("split", "sha256", "status")
    done = samples[samples["status"] == "ok"]
    train, test = (set(done.loc[done["split"] == split, "sha256"]) for split in ("train", "test"))
    invert, shard = summaries["invert"], summaries["shard"]
    return {
        "build": str(root),
        "train": int((done["split"] == "train").sum()),
        "test": int((done["split"] == "test").sum()),
        "failed": int((samples["status"] == "failed").sum()),
        "identical_in_both": len(train & test),
        **{key: invert[key] for key in ("psnr_mean", "psnr_min", "lpips_mean") if key in invert},
        "shards": shard["shards"],
        "bytes": shard["bytes"],
        "seconds": round(sum(part.get("seconds", 0) for part in summaries.values()), 1),
    }


def show_plan(
    name: str,
    label: str | None,
    generator: str,
    perceptual: str,
    config: OmImageNetConfig,
    run: RunOptions,
    train: bool,
) -> dict[str, Any]:
    """Print what each stage will take."""
    from pipeline.capacity import show_estimates
    from pipeline.datasets import load_dataset
    from pipeline.devices import resolve_device
    from stages.om_imagenet.plan import plan_build

    manifest, reader = load_dataset(name, label)
    table = reader.scan().head(run.limit) if run.limit else reader.scan()
    plans = plan_build(
        table, reader, generator, perceptual,
        steps=config.steps, formats=config.format.split(","), device=run.device,
        train_resolution=manifest.resolution if train else None, batch_size=run.batch_size,
    )  # fmt: skip
    splits = table["split"].value_counts().to_dict()
    counts = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    device = resolve_device(run.device).type
    return show_estimates(f"{name}: {counts}", {"samples": splits}, plans, device, run.as_json)
