"""Random w, and what is reduced to find directions among them: the w themselves, or a layer's activations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.composition import channels_after
from pipeline.errors import PipelineError
from pipeline.generators import Generator, LoadedGenerator
from pipeline.generators.layered import StyleGenerator
from pipeline.seeds import torch_generator
from stages.directions.config import DirectionsConfig

BATCH = 64  # images rendered at once for their activations
MOST_BYTES = 2**31  # of all activations, which are reduced together


@dataclass(frozen=True)
class Samples:
    """Random samples of a generator.

    Attributes:
        w: the w of the layer that directions are found for [samples, w_dim].
        features: what is reduced [samples, D].
        layers: layers that read the same w; edits along the directions make sense in these only.
        free: which entries of w depend on z [w_dim]; the others are a class embedding or unused.
    """

    w: NDArray[np.float32]
    features: NDArray[np.float32]
    layers: tuple[int, ...]
    free: NDArray[np.bool_]


def resolve_space(loaded: LoadedGenerator, config: DirectionsConfig) -> str:
    """What is reduced, `w` or `activations`. Raises PipelineError if there is no such layer, or no room for it."""
    # Other families take z itself as w, whose distribution has no directions of its own.
    mapped = "w" if isinstance(loaded.network, StyleGenerator) else "activations"
    space = mapped if config.space == "auto" else config.space
    if space == "activations" and config.layer >= loaded.network.num_layers:
        raise PipelineError(
            f"--layer {config.layer}: generator '{loaded.manifest.name}' has layers 0 to "
            f"{loaded.network.num_layers - 1}"
        )
    if space == "activations":
        network, layer = loaded.network, config.layer
        each = 4 * channels_after(network, layer) * network.layer_resolution(layer) ** 2
        if each * config.samples > MOST_BYTES:
            raise PipelineError(
                f"--layer {layer}: the activations of {config.samples:,} samples take "
                f"{each * config.samples / 2**30:.1f} GiB; at most {MOST_BYTES // each:,} --samples fit there, or "
                f"choose an earlier layer"
            )
    return space


@torch.inference_mode()
def draw_w(network: Generator, count: int, config: DirectionsConfig, purpose: str) -> Iterator[torch.Tensor]:
    """Batches of w+ [B, num_ws, w_dim] of random z, under random labels where the generator takes any."""
    rng = torch_generator(config.seed, purpose)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        z = torch.randn(size, network.z_dim, generator=rng).to(network.device)
        c = None
        if network.c_dim:
            chosen = torch.randint(network.c_dim, (size,), generator=rng).to(network.device)
            c = F.one_hot(chosen, network.c_dim).float()
        yield network.map(z, c, config.truncation_psi)


@torch.inference_mode()
def draw_samples(network: Generator, space: str, config: DirectionsConfig) -> Samples:
    """Draw `samples` w and what is reduced of each."""
    # An early layer of BigGAN reads its own part of z, and its activations tell of no other.
    row = min(config.layer, network.num_ws - 1) if space == "activations" else 0
    layers = set(range(network.num_ws))
    rows: list[torch.Tensor] = []
    reached: list[torch.Tensor] = []
    for w in draw_w(network, config.samples, config, "directions"):
        layers -= {i for i in layers if not torch.equal(w[:, i], w[:, row])}
        rows.append(w[:, row].float().cpu())
        if space == "activations":
            reached.append(network.activations(w, config.layer).features.flatten(1).float().cpu())
    codes = torch.cat(rows).numpy()
    features = torch.cat(reached).numpy() if reached else codes
    return Samples(codes, features, tuple(sorted(layers)), depends_on_z(network, row))


def depends_on_z(network: Generator, row: int) -> NDArray[np.bool_]:
    """Which entries of a layer's w change with z [w_dim], under one label."""
    z = torch.randn(8, network.z_dim, generator=torch_generator(0, "depends on z")).to(network.device)
    c = torch.zeros(8, network.c_dim, device=network.device) if network.c_dim else None
    w = network.map(z, c)[:, row]
    changes: NDArray[np.bool_] = (w != w[:1]).any(dim=0).cpu().numpy()
    return changes
