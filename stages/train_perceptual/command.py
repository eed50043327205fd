"""`pipeline train-perceptual`."""

from typing import Any

import click

from pipeline.options import config_options, show_summary
from stages.train_perceptual.config import TrainPerceptualConfig


@click.command()
@click.option("--dataset", required=True, help="A declared dataset's name, or a path to a manifest (NAME.toml).")
@click.option("--build", help="Build directory.  [default: builds/DATASET]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@config_options(TrainPerceptualConfig)
def command(dataset: str, build: str | None, as_json: bool, config: TrainPerceptualConfig) -> dict[str, Any]:
    """Train the small perceptual net on a dataset's training split, without labels.

    Writes BUILD/perceptual: weights with a manifest. One image in ten is held out to measure it. It takes minutes,
    and begins anew when it was stopped.

    \b
        pipeline train-perceptual --dataset color-digits
        pipeline invert --dataset color-digits --build builds/mine \\
            --perceptual builds/color-digits/perceptual/perceptual.toml
    """

    import torch
    from safetensors.torch import save

    from pipeline.belongings import announce, conclude
    from pipeline.build import build_place
    from pipeline.config import changed_options
    from pipeline.datasets.loading import load_split
    from pipeline.devices import use_one_thread
    from pipeline.files import sha256_file, write_bytes
    from pipeline.listing import create_build
    from pipeline.manifest import write_toml
    from pipeline.progress import Progress
    from stages.train_perceptual.training import accuracy, train, untrained_net

    use_one_thread()
    target = create_build(build_place(dataset, build), dataset)
    folder = target.root / "perceptual"
    with target.lock():
        images = torch.from_numpy(load_split(target, "train")[0])
        rows = torch.arange(len(images))
        held_out, shown = rows[::10], rows[rows % 10 != 0]
        with Progress("train-perceptual", config.steps, "steps") as progress:
            net = train(config, images, shown, lambda step, loss: progress.advance(1, f"loss {loss:.3f}"))
        right = accuracy(net, images, held_out, config.seed)
        untrained = accuracy(untrained_net(config.seed), images, held_out, config.seed)
        weights, declared = folder / "perceptual.safetensors", folder / "perceptual.toml"
        announce(target, "perceptual", [weights, declared])
        write_bytes(weights, save({name: tensor.contiguous() for name, tensor in net.state_dict().items()}))
        content = {
            "name": f"{target.manifest.name}-trained",
            "description": f"small LPIPS net trained without labels on the training split of {dataset}",
            "family": "small",
            "weights": weights.name,
            "sha256": sha256_file(weights),
            "command": f"pipeline train-perceptual --dataset {dataset}{changed_options(config)}",
        }
        write_toml(declared, content)
        conclude(target, "perceptual", [weights, declared])
    return show_summary(
        {
            "perceptual": str(declared),
            "held_out_choices_right": round(right, 4),
            "untrained_net": round(untrained, 4),
        },
        as_json,
    )
