"""`pipeline train-encoder`."""

from typing import Any

import click

from pipeline.options import config_options, show_summary
from stages.train_encoder.config import TrainEncoderConfig

MEASURED = 512  # images of each split that the quality is taken from


@click.command()
@click.option("--dataset", required=True, help="A declared dataset's name, or a path to a manifest (NAME.toml).")
@click.option("--build", help="Build directory.  [default: builds/DATASET]")
@click.option("--generator", help="Generator to encode for.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net of eq. 9.  [default: the dataset's]")
@click.option("--init", help="Begin from this encoder, a name or a path to its manifest, instead of from nothing.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one for each core]")
@click.option("--fresh", is_flag=True, help="Start the training over.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@config_options(TrainEncoderConfig)
def command(
    dataset: str,
    build: str | None,
    generator: str | None,
    perceptual: str | None,
    init: str | None,
    device: str,
    threads: int | None,
    fresh: bool,
    as_json: bool,
    config: TrainEncoderConfig,
) -> dict[str, Any]:
    """Train an encoder from images to W+ on a dataset's training split (BIES).

    Writes BUILD/encoder: weights with a manifest. Stopped, it goes on from the last snapshot. The summary has the
    PSNR on the training split and, which is what counts, on the test split.

    \b
        pipeline train-encoder --dataset color-digits
        pipeline invert --dataset color-digits --build builds/encoded --method encoder \\
            --encoder builds/color-digits/encoder/encoder.toml
    """
    from dataclasses import asdict

    import torch

    from pipeline.belongings import announce, conclude, forget
    from pipeline.build import build_place
    from pipeline.config import digest_of
    from pipeline.datasets import load_dataset
    from pipeline.datasets.loading import load_split
    from pipeline.devices import cpu_count, keep_freed_memory, resolve_device
    from pipeline.encoders import read_encoder
    from pipeline.errors import ManifestError
    from pipeline.generators import open_generator
    from pipeline.listing import create_build
    from pipeline.perceptual import load_perceptual, perceptual_digest
    from pipeline.progress import Progress
    from pipeline.training import check_begun_elsewhere, run_steps
    from stages.train_encoder.outputs import write_encoder
    from stages.train_encoder.training import Trainer

    where = resolve_device(device)
    torch.set_num_threads(threads or cpu_count())
    keep_freed_memory()
    root = build_place(dataset, build)
    folder = root / "encoder"
    check_begun_elsewhere(folder, init=init)
    manifest = load_dataset(dataset)[0]
    generator, perceptual = generator or manifest.generator, perceptual or manifest.perceptual
    if generator is None or perceptual is None:
        missing = "generator" if generator is None else "perceptual"
        raise ManifestError(f"dataset '{manifest.name}' names no {missing}: pass --{missing} NAME")
    loaded = open_generator(generator, where.type)
    if manifest.resolution != loaded.network.resolution:
        raise ManifestError(
            f"dataset '{manifest.name}' delivers {manifest.resolution}x{manifest.resolution} images, but "
            f"generator '{generator}' renders {loaded.network.resolution}x{loaded.network.resolution}"
        )
    before = read_encoder(init, loaded.network) if init else None
    trainer = Trainer(config, loaded.network, load_perceptual(perceptual, where.type), where, before)
    target = create_build(root, dataset)  # not before all that can be refused has been
    with target.lock():
        images = torch.from_numpy(load_split(target, "train")[0])
        files = [folder / name for name in ("checkpoint.safetensors", "encoder.safetensors", "encoder.toml")]
        announce(target, "encoder", files)
        if fresh:
            forget(target, "encoder")
        key = digest_of(
            {
                **asdict(config),
                "dataset": target.manifest.model_dump(mode="json"),
                "generator": loaded.sha256,
                "perceptual": perceptual_digest(perceptual),
                "init": init,
            }
        )
        with Progress("train-encoder", config.steps, "steps") as progress:

            def on_progress(step: int, losses: dict[str, float]) -> None:
                note = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
                progress.advance(step - progress.done, note)

            run_steps(
                trainer,
                images,
                steps=config.steps,
                snapshot=config.snapshot,
                checkpoint=files[0],
                key=key,
                on_progress=on_progress,
            )
        path = write_encoder(folder, trainer.ema, dataset, loaded.sha256, config, init)
        conclude(target, "encoder", files)
        summary: dict[str, Any] = {"encoder": str(path)}
        for split in target.samples("split")["split"].unique():
            held = torch.from_numpy(load_split(target, split, MEASURED)[0])
            summary[f"psnr_{split}"] = [round(value, 2) for value in trainer.measure(held)]
    return show_summary(summary, as_json)
