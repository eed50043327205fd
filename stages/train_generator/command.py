"""`pipeline train-generator`."""

from typing import Any

import click

from pipeline.options import config_options, show_summary
from stages.train_generator.config import TrainGeneratorConfig


@click.command()
@click.option("--dataset", required=True, help="A declared dataset's name, or a path to a manifest (NAME.toml).")
@click.option("--build", help="Build directory.  [default: builds/DATASET]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--init", type=click.Path(dir_okay=False), help="Begin from this checkpoint of an earlier training.")
@click.option("--generator", help="Begin from this generator; its discriminator is new.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one for each core]")
@click.option("--fresh", is_flag=True, help="Start the training over.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@config_options(TrainGeneratorConfig)
def command(
    dataset: str,
    build: str | None,
    device: str,
    init: str | None,
    generator: str | None,
    threads: int | None,
    fresh: bool,
    as_json: bool,
    config: TrainGeneratorConfig,
) -> dict[str, Any]:
    """Train a StyleGAN on a dataset's training split.

    Writes BUILD/generator: weights with a manifest, sample grids, and how good they were while it trained.
    Stopped, it goes on from the last snapshot.

    \b
        pipeline train-generator --dataset color-digits
        pipeline train-generator --dataset color-digits-rgb --generator color-digits-stylegan1 --learn colours
        pipeline invert --dataset color-digits --build builds/mine \\
            --generator builds/color-digits/generator/generator.toml
    """
    import torch

    from pipeline.belongings import add, announce, forget, read_end
    from pipeline.build import build_place
    from pipeline.config import digest_of, stored_settings
    from pipeline.datasets import load_dataset
    from pipeline.datasets.loading import load_split
    from pipeline.devices import cpu_count, keep_freed_memory, resolve_device
    from pipeline.errors import PipelineError
    from pipeline.files import expanded
    from pipeline.listing import create_build
    from pipeline.progress import Progress
    from pipeline.training import check_begun_elsewhere
    from stages.train_generator.run import CHECKPOINT, FILES, NAME, train, write_manifest
    from stages.train_generator.start import open_start
    from stages.train_generator.training import Trainer

    if init and generator:
        raise PipelineError("a training begins from --init or from --generator, not from both: leave one out")
    if config.learn != "all" and not (init or generator):
        raise PipelineError(
            f"--learn {config.learn} keeps the shapes of a trained generator: name one with --generator"
        )
    where = resolve_device(device)
    torch.set_num_threads(threads or cpu_count())
    keep_freed_memory()
    root = build_place(dataset, build)
    folder = root / "generator"
    check_begun_elsewhere(folder, init=init, generator=generator)
    resolution = load_dataset(dataset)[0].resolution
    start = None if generator is None else open_start(generator, resolution)
    trainer = Trainer(config, resolution, where, None if start is None else start.network)
    if init and (fresh or not (folder / CHECKPOINT).is_file()):
        trainer.begin_from(expanded(init))
    target = create_build(root, dataset)  # not before all that can be refused has been
    with target.lock():
        pixels, labels = load_split(target, "train")
        recorded = read_end(target, NAME) is not None
        announce(target, NAME, [folder / name for name in FILES])
        if fresh:
            forget(target, NAME)
        begun = {"init": init, "generator": start and start.sha256}
        key = digest_of({**stored_settings(config), "dataset": target.manifest.model_dump(mode="json"), **begun})
        with Progress("train-generator", config.images, "images") as progress:

            def on_progress(images: int, losses: dict[str, float]) -> None:
                note = ", ".join(f"{name} {value:.2f}" for name, value in losses.items())
                progress.advance(images - progress.done, note)

            quality = train(
                trainer,
                torch.from_numpy(pixels),
                torch.from_numpy(labels),
                len(target.classes),
                key=key,
                folder=folder,
                on_progress=on_progress,
                on_grid=lambda path: add(target, NAME, [path]),
            )
        manifest = write_manifest(folder, target.manifest.name, resolution, config, init, start)
        older = [] if recorded else sorted(folder.glob("grids/*.png"))  # of snapshots whose record is lost
        add(target, NAME, [*older, *(folder / name for name in FILES)], complete=True)
    return show_summary({"generator": str(manifest), "grids": str(folder / "grids"), **quality}, as_json)
