"""`pipeline shift-generator`."""

from typing import Any

import click

from pipeline.options import config_options, show_summary
from stages.shift_generator.config import ShiftGeneratorConfig

MEASURED = 512  # images of each split that the quality is taken from


@click.command()
@click.option("--dataset", required=True, help="A declared dataset's name, or a path to a manifest (NAME.toml).")
@click.option("--build", help="Build directory.  [default: builds/DATASET]")
@click.option("--generator", help="Generator to shift.  [default: the dataset's]")
@click.option("--encoder", help="Its encoder, which stays as it is.  [default: the dataset's]")
@click.option("--perceptual", help="Perceptual net of eq. 9.  [default: the dataset's]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one for each core]")
@click.option("--fresh", is_flag=True, help="Start over.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@config_options(ShiftGeneratorConfig)
def command(
    dataset: str,
    build: str | None,
    generator: str | None,
    encoder: str | None,
    perceptual: str | None,
    device: str,
    threads: int | None,
    fresh: bool,
    as_json: bool,
    config: ShiftGeneratorConfig,
) -> dict[str, Any]:
    """Shift a generator towards a dataset, its encoder frozen (NaTra, eq. 10).

    Writes BUILD/shifted: the generator, and the encoder declared for it. A build made with them uses them in every
    later stage. The summary has the PSNR before and after, and how alike edits of w look in both (1: the same), so
    whether directions found before still mean what they did.

    \b
        pipeline shift-generator --dataset color-digits
        pipeline invert --dataset color-digits --build builds/shifted \\
            --generator builds/color-digits/shifted/generator.toml \\
            --encoder builds/color-digits/shifted/encoder.toml
    """
    from dataclasses import asdict

    import torch

    from pipeline.belongings import announce, conclude, forget
    from pipeline.build import build_place
    from pipeline.config import digest_of
    from pipeline.datasets import load_dataset
    from pipeline.datasets.loading import load_split
    from pipeline.devices import cpu_count, keep_freed_memory, resolve_device
    from pipeline.encoders import open_encoder
    from pipeline.errors import ManifestError
    from pipeline.generators import open_generator
    from pipeline.listing import create_build
    from pipeline.perceptual import load_perceptual, perceptual_digest
    from pipeline.progress import Progress
    from pipeline.training import check_begun_elsewhere, run_steps
    from stages.shift_generator.outputs import write_shifted
    from stages.shift_generator.training import Trainer

    where = resolve_device(device)
    torch.set_num_threads(threads or cpu_count())
    keep_freed_memory()
    root = build_place(dataset, build)
    folder = root / "shifted"
    check_begun_elsewhere(folder, generator=generator, encoder=encoder)
    manifest = load_dataset(dataset)[0]
    names = {
        "generator": generator or manifest.generator,
        "encoder": encoder or manifest.encoder,
        "perceptual": perceptual or manifest.perceptual,
    }
    for kind, name in names.items():
        if name is None:
            advice = ", or train one with `pipeline train-encoder`" if kind == "encoder" else ""
            raise ManifestError(f"dataset '{manifest.name}' names no {kind}: pass --{kind} NAME{advice}")
    generator, encoder, perceptual = (str(name) for name in names.values())
    loaded, frozen = open_generator(generator, where.type), open_encoder(encoder, generator, where.type)
    trainer = Trainer(config, loaded.network, frozen, load_perceptual(perceptual, where.type), where)
    target = create_build(root, dataset)  # not before all that can be refused has been
    with target.lock():
        images = torch.from_numpy(load_split(target, "train")[0])
        made = [f"{name}.{end}" for name in ("generator", "encoder") for end in ("safetensors", "toml")]
        files = [folder / name for name in ("checkpoint.safetensors", *made)]
        announce(target, "shifted", files)
        if fresh:
            forget(target, "shifted")
        key = digest_of(
            {
                **asdict(config),
                "dataset": manifest.model_dump(mode="json"),
                "generator": loaded.sha256,
                "encoder": frozen.sha256,
                "perceptual": perceptual_digest(perceptual),
            }
        )
        with Progress("shift-generator", config.steps, "steps") as progress:

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
        trainer.generator.requires_grad_(False)
        path = write_shifted(folder, trainer.generator, loaded, frozen, manifest.name, config)
        conclude(target, "shifted", files)
        summary: dict[str, Any] = {"generator": str(path), "encoder": str(folder / "encoder.toml")}
        for split in target.samples("split")["split"].unique():
            held = torch.from_numpy(load_split(target, split, MEASURED)[0])
            summary[f"psnr_{split}_before"] = round(trainer.quality(loaded.network, held), 2)
            summary[f"psnr_{split}"] = round(trainer.quality(trainer.generator, held), 2)
        summary["edits_alike"] = round(trainer.edits_alike(), 3)
    return show_summary(summary, as_json)
