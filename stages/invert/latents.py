"""What inversion searches: W+, W, or several codes that are composed. To the solver all are rows of numbers.

`theta` [B, rows, w_dim] holds them. For N codes composed at layer l these are N times the rows that layers up to l
read (one in W), then the rows of the layers above (none in W, where they take the mean of the codes), and last the
channel weights alpha, N * C numbers in as many rows as they need.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.composition import Composition, channels_after, render, rows_read
from pipeline.errors import PipelineError
from pipeline.generators import LoadedGenerator
from pipeline.generators.base import Generator
from pipeline.seeds import normal_rows
from stages.invert.config import InvertConfig

SPREAD = 0.5  # how far the codes start from each other, as a share of how far random w are


class Latents(Protocol):
    """A space that images are inverted into."""

    @property
    def rows(self) -> int:
        """Rows of theta."""
        ...

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """Which w's of w+ each row of theta sets; none for rows that are something else."""
        ...

    def start(self, w: Tensor, seeds: list[int]) -> Tensor:
        """Theta [B, rows, w_dim] that renders about as w+ [B, num_ws, w_dim] does."""
        ...

    def w(self, theta: Tensor) -> Tensor:
        """The w+ [B, num_ws, w_dim] that theta stands for."""
        ...

    def composition(self, theta: Tensor) -> Composition | None:
        """The codes that belong to it."""
        ...


@dataclass(frozen=True)
class ExtendedW:
    """W+: each layer has its own w."""

    num_ws: int

    @property
    def rows(self) -> int:
        """One for each layer."""
        return self.num_ws

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """Its own."""
        return [(index,) for index in range(self.num_ws)]

    def start(self, w: Tensor, seeds: list[int]) -> Tensor:
        """W+ itself."""
        return w

    def w(self, theta: Tensor) -> Tensor:
        """Theta itself."""
        return theta

    def composition(self, theta: Tensor) -> Composition | None:
        """There are no codes."""
        return None


@dataclass(frozen=True)
class SharedW:
    """W: all layers have the same w."""

    num_ws: int
    rows: int = 1

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """All of them."""
        return [tuple(range(self.num_ws))]

    def start(self, w: Tensor, seeds: list[int]) -> Tensor:
        """The mean over the layers."""
        return w.mean(dim=1, keepdim=True)

    def w(self, theta: Tensor) -> Tensor:
        """The same in every layer."""
        return theta.expand(-1, self.num_ws, -1)

    def composition(self, theta: Tensor) -> Composition | None:
        """There are no codes."""
        return None


@dataclass(frozen=True)
class ComposedCodes:
    """N codes composed at a layer, in W+ or in W.

    Attributes:
        read: rows of w+ up to the layer.
        channels: weights of a code.
        shared: whether a code is one w for all layers.
    """

    generator: Generator
    count: int
    layer: int
    read: int
    channels: int
    shared: bool

    @property
    def own(self) -> int:
        """Rows of each code in theta."""
        return 1 if self.shared else self.read

    @property
    def above(self) -> int:
        """Rows in theta of the layers above the composition."""
        return 0 if self.shared else self.generator.num_ws - self.read

    @property
    def rows(self) -> int:
        """Rows of the codes, of the layers above, and of alpha."""
        weights = -(-self.count * self.channels // self.generator.w_dim)
        return self.count * self.own + self.above + weights

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """Those of each code, those above the composition, none for alpha."""
        read = tuple(range(self.read))
        code = [read] if self.shared else [(index,) for index in read]
        above = [(self.read + index,) for index in range(self.above)]
        rows = self.count * code + above
        return rows + [()] * (self.rows - len(rows))

    def start(self, w: Tensor, seeds: list[int]) -> Tensor:
        """The first code is w, the others lie around it; alpha is 1 / N."""
        network = self.generator
        z = normal_rows((self.count - 1, network.z_dim), seeds).flatten(0, 1).to(w.device)
        with torch.no_grad():
            c = torch.zeros(len(z), network.c_dim, device=w.device) if network.c_dim else None
            drawn = network.map(z, c).unflatten(0, (len(w), self.count - 1))
        others = w[:, None] + SPREAD * (drawn - w[:, None])
        codes = torch.cat([w[:, None], others], dim=1)  # [B, N, num_ws, w_dim]
        codes = codes.mean(dim=2, keepdim=True) if self.shared else codes[:, :, : self.read]
        parts = [codes.flatten(1, 2), w[:, self.read :] if self.above else w[:, :0]]
        used = self.count * self.own + self.above
        alpha = w.new_full((len(w), (self.rows - used) * network.w_dim), 1 / self.count)
        return torch.cat([*parts, alpha.unflatten(1, (-1, network.w_dim))], dim=1)

    def codes(self, theta: Tensor) -> Tensor:
        """[B, N, own, w_dim]."""
        codes: Tensor = theta[:, : self.count * self.own].unflatten(1, (self.count, self.own))
        return codes

    def w(self, theta: Tensor) -> Tensor:
        """The mean of the codes, and above the composition the rows that it has of its own."""
        mean = self.codes(theta).mean(dim=1)
        if self.shared:
            return mean.expand(-1, self.generator.num_ws, -1)
        begin = self.count * self.own
        return torch.cat([mean, theta[:, begin : begin + self.above]], dim=1)

    def composition(self, theta: Tensor) -> Composition | None:
        """The codes and their weights."""
        codes = self.codes(theta).expand(-1, -1, self.read, -1)
        used = self.count * self.own + self.above
        alpha = (
            theta[:, used:].flatten(1)[:, : self.count * self.channels].unflatten(1, (self.count, self.channels))
        )
        return Composition(self.layer, codes, alpha, codes.mean(dim=1))


def make_latents(config: InvertConfig, loaded: LoadedGenerator) -> Latents:
    """The space that the settings ask for.

    Raises:
        PipelineError: there is no such layer to compose at.
    """
    network, shared = loaded.network, config.space == "w"
    if config.codes == 1:
        return SharedW(network.num_ws) if shared else ExtendedW(network.num_ws)
    layer = compose_layer(config, network)
    try:
        channels = channels_after(network, layer)
    except ValueError as error:
        raise PipelineError(f"--compose-at {config.compose_at}: {error}") from error
    return ComposedCodes(network, config.codes, layer, rows_read(network, layer), channels, shared)


def compose_layer(config: InvertConfig, network: Generator) -> int:
    """The layer asked for, or the middle one."""
    return config.compose_at if config.compose_at >= 0 else (network.num_layers - 1) // 2


def render_theta(generator: Generator, latents: Latents, theta: Tensor) -> Tensor:
    """Images [B, 3, H, W] of theta."""
    return render(generator, latents.w(theta), latents.composition(theta))
