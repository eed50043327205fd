"""Trains one classifier: Adam, a fixed number of steps, each pass showing every image of the set once."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.classifiers.architectures import build_network
from pipeline.devices import channels_last
from pipeline.errors import PipelineError
from pipeline.generators import Generator
from pipeline.images import to_float
from pipeline.latents import to_tensor
from pipeline.seeds import seed_of, torch_generator
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.reading import Samples
from stages.evaluate.recipes import Batch, Recipe
from stages.evaluate.sizes import attack_slots, trained_slots


def train(
    samples: Samples,
    resolution: int,
    config: EvaluateConfig,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    generator: Generator | None = None,
    batch_size: int | None = None,
) -> tuple[nn.Module, float]:
    """Train on a set, originals and variants alike; return the network and its mean loss over the last tenth.

    Everything random comes from the seed: the weights, the order, and what the recipe draws. A recipe in the latent
    space needs the samples' w+ and their generator. Of a training batch `batch_size` images are in memory at once
    (None: what fits), and their gradients are summed; batch normalisation, where there is any, sees as many.

    Raises:
        PipelineError: the loss does not stay finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "classifier weights"))
        network = build_network(
            config.architecture, samples.num_classes, resolution, config.width, config.input_size
        )
    network = channels_last(network.to(device)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    size = samples.pixels.shape[1]
    at_once = batch_size or trained_slots(network, size, device)
    slots = batch_size or attack_slots(network, size, device, generator)
    targets = samples.targets()
    losses: list[Tensor] = []
    for step, rows in enumerate(batches(len(samples.labels), config.train_batch, config.steps, seed)):
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1, 2 * (1 - step / config.steps))
        picked = rows.numpy()
        w = None if samples.latents is None else to_tensor(samples.latents[picked]).to(device)
        batch = Batch(to_float(samples.pixels[picked]).to(device), targets[rows].to(device), w, generator, slots)
        batch = recipe(batch, network, seed_of(seed, "recipe", step))
        optimizer.zero_grad()
        losses.append(gradient_of(network, batch, at_once))
        optimizer.step()
    last = float(torch.stack(losses[-max(1, config.steps // 10) :]).mean())
    if not math.isfinite(last):
        raise PipelineError(
            f"the training of seed {seed} has diverged: begin again with --fresh and a lower --learning-rate than "
            f"{config.learning_rate}"
        )
    return network.eval().requires_grad_(False), last


def gradient_of(network: nn.Module, batch: Batch, at_once: int) -> Tensor:
    """Add the gradient of the mean loss, so many images at once; return that loss."""
    parts = []
    for images, targets in zip(batch.images.split(at_once), batch.targets.split(at_once), strict=True):
        loss = F.cross_entropy(network(images), targets) * (len(images) / len(batch.images))
        loss.backward()
        parts.append(loss.detach())
    return torch.stack(parts).sum()


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Rows [<= size] of `steps` batches: pass after pass, each in an order of its own."""
    made, number = 0, 0
    while made < steps:
        order = torch.randperm(count, generator=torch_generator(seed, "order", number))
        for rows in order.split(size)[: steps - made]:
            yield rows
            made += 1
        number += 1
