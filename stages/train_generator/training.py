"""StyleGAN's training as of its second version: non-saturating loss, lazy R1, style mixing, averaged weights.

Every random draw of a step comes from (seed, step), so that a resumed run repeats an undisturbed one.
"""

import math
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from pipeline.checkpoint import load_checkpoint
from pipeline.devices import channels_last
from pipeline.generators.stylegan1 import StyleGAN1
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.seeds import seed_of, torch_generator
from stages.train_generator.config import TrainGeneratorConfig, channel_counts
from stages.train_generator.discriminator import Discriminator

StyleGAN = StyleGAN1 | StyleGAN2


class Trainer:
    """Both networks, their optimisers and the averaged generator G_ema."""

    def __init__(
        self, config: TrainGeneratorConfig, resolution: int, device: torch.device, start: StyleGAN | None = None
    ):
        """Begin with random weights, or from the generator `start`, which is left as it is."""
        channels, discriminator_channels = channel_counts(config, resolution)
        self.config, self.device, self.step = config, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.G, self.G_ema = (untrained(config, channels) for _ in range(2))
            self.D = Discriminator(discriminator_channels)
        if start is not None:
            self.G = deepcopy(start)
        self.G_ema = deepcopy(self.G).requires_grad_(False)
        self.G.requires_grad_(config.learn == "all")
        if config.learn == "colours":
            fine = range(self.G.num_ws)[-config.fine_layers :]
            for module in (self.G.mapping, *(style for index in fine for style in self.G.styles(index))):
                module.requires_grad_(True)
        for net in (self.G, self.G_ema, self.D):
            channels_last(net.to(device))
        lazy = config.r1_interval / (config.r1_interval + 1)
        learning = [weights for weights in self.G.parameters() if weights.requires_grad]
        self.opt_G = torch.optim.Adam(learning, lr=config.learning_rate, betas=(0.0, 0.99), eps=1e-8)
        self.opt_D = torch.optim.Adam(
            self.D.parameters(), lr=config.learning_rate * lazy, betas=(0.0, 0.99**lazy), eps=1e-8
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint holds of networks."""
        return {"G": self.G, "G_ema": self.G_ema, "D": self.D}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """What a checkpoint holds of optimisers."""
        return {"opt_G": self.opt_G, "opt_D": self.opt_D}

    def begin_from(self, checkpoint: Path) -> None:
        """Take over the networks of an earlier training, and how its optimisers saw them.

        Where `learn` leaves some weights of G out, its optimiser begins anew.

        Raises:
            BuildError: it is no checkpoint, or of networks of other sizes.
        """
        learned = dict(self.optimizers)
        if self.config.learn != "all":
            del learned["opt_G"]
        load_checkpoint(checkpoint, None, self.networks, learned)

    @property
    def images_seen(self) -> int:
        """Real images shown so far."""
        return self.step * self.config.train_batch

    def train_step(self, images: Tensor) -> dict[str, float]:
        """One update of D and of G on a batch drawn from images uint8 [N, H, W, 3]; return the losses."""
        config = self.config
        rng = torch_generator(config.seed, "train-generator", self.step)
        torch.manual_seed(seed_of(config.seed, "noise inputs", self.step))
        real = self.draw_real(images, rng)
        fake = augment(self.draw_fake(rng), config.augment, rng)
        self.set_learning_rate()

        # Discriminator: one batch of fakes serves both updates.
        self.D.requires_grad_(True)
        loss_D = F.softplus(self.D(fake.detach())).mean() + F.softplus(-self.D(real)).mean()
        penalty = torch.zeros([])
        if self.step % config.r1_interval == 0:
            penalty = self.r1_penalty(real)
        self.opt_D.zero_grad(set_to_none=True)
        (loss_D + penalty * config.r1_interval).backward()
        self.opt_D.step()

        # Generator.
        self.D.requires_grad_(False)
        loss_G = F.softplus(-self.D(fake)).mean()
        transport = colour_transport(fake, real) if config.colour_transport else torch.zeros([])
        self.opt_G.zero_grad(set_to_none=True)
        (loss_G + config.colour_transport * transport).backward()
        if self.images_seen >= config.discriminator_first:
            self.opt_G.step()

        self.update_average()
        self.step += 1
        losses = {"loss_d": loss_D, "loss_g": loss_G, "r1": penalty}
        if config.colour_transport:
            losses["transport"] = transport
        return {name: loss.item() for name, loss in losses.items()}

    def set_learning_rate(self) -> None:
        """Constant, then falling linearly to zero: the last images settle what the first ones found."""
        config = self.config
        progress = min(1.0, self.images_seen / config.images)
        scale = min(1.0, (1 - progress) / (1 - config.decay_from))
        lazy = config.r1_interval / (config.r1_interval + 1)
        self.opt_G.param_groups[0]["lr"] = config.learning_rate * scale
        self.opt_D.param_groups[0]["lr"] = config.learning_rate * scale * lazy

    def draw_real(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """A batch [B, 3, H, W] in [-1, 1], augmented."""
        rows = torch.randint(len(images), (self.config.train_batch,), generator=rng)
        batch = images[rows].permute(0, 3, 1, 2).to(self.device, torch.float32) / 127.5 - 1
        if self.config.mirror:
            flip = torch.rand(len(batch), 1, 1, 1, generator=rng).to(self.device) < 0.5
            batch = torch.where(flip, batch.flip(3), batch)
        return augment(batch, self.config.augment, rng)

    def draw_fake(self, rng: torch.Generator) -> Tensor:
        """A batch of G's images [B, 3, H, W]; most use a second w from a random layer on (style mixing)."""
        config = self.config
        z = torch.randn(2, config.train_batch, self.G.z_dim, generator=rng).to(self.device)
        cutoff = torch.randint(1, self.G.num_ws, (config.train_batch,), generator=rng)
        unmixed = torch.rand(config.train_batch, generator=rng) >= config.style_mixing
        cutoff[unmixed] = self.G.num_ws
        w = self.G.map(z[0])
        with torch.no_grad():
            self.G.mean_w.lerp_(w[:, 0].mean(dim=0), 0.005)
        layer = torch.arange(self.G.num_ws)
        keep = (layer[None] < cutoff[:, None])[:, :, None].to(self.device)
        return self.G.synthesize(torch.where(keep, w, self.G.map(z[1])), noise="random")

    def r1_penalty(self, real: Tensor) -> Tensor:
        """gamma / 2 * E |dD(x)/dx|^2 on real images (Mescheder et al. 2018)."""
        real = real.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.D(real).sum(), real, create_graph=True)
        return self.config.r1_gamma / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()

    @torch.no_grad()
    def update_average(self) -> None:
        """Move G_ema toward G, with a ramp so that early weights are soon forgotten."""
        half_life = min(self.config.ema_half_life, 0.05 * max(self.images_seen, 1))
        decay = 0.5 ** (self.config.train_batch / max(half_life, 1e-8))
        averages: list[Tensor] = list(self.G_ema.parameters())
        currents: list[Tensor] = list(self.G.parameters())
        torch._foreach_lerp_(averages, currents, 1 - decay)
        for average, current in zip(self.G_ema.buffers(), self.G.buffers(), strict=True):
            average.copy_(current)


def untrained(config: TrainGeneratorConfig, channels: list[int]) -> StyleGAN:
    """A generator with random weights; `channels` from 4x4 up."""
    if config.family == "stylegan1":
        return StyleGAN1(channels, config.z_dim, config.z_dim, config.mapping_layers)
    sizes = {4 << i: count for i, count in enumerate(channels)}
    return StyleGAN2(max(sizes), sizes, config.z_dim, config.z_dim, mapping_layers=config.mapping_layers)


def colour_transport(fake: Tensor, real: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance [] between the mean colours of two batches [B, 3, H, W] of one size.

    An adversarial loss alone may forget colours that lie far from all others: every path there passes images that
    nobody drew. Matching one to one, no real image is left without a generated one (Genevay et al. 2018).
    """
    ours, theirs = (images.mean(dim=(2, 3)) for images in (fake, real))
    cost = torch.cdist(ours.detach(), theirs).square()
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return (ours[rows] - theirs[columns]).square().sum(dim=1).mean()


def augment(images: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Turn, scale and shift some of the images [B, 3, H, W] (at most 15 degrees, 15 %, 2 pixels of 32).

    The discriminator of a small dataset soon knows it by heart. Real and generated images alike are changed before
    it sees them; as some are left alone, the generator learns the true ones (Karras et al. 2020, "ADA").
    """
    count = images.shape[0]
    largest = torch.tensor([math.radians(15), 0.15, 0.125, 0.125])
    chosen = torch.rand(count, generator=rng) < probability
    angle, log_scale, dx, dy = (
        (torch.rand(count, 4, generator=rng) * 2 - 1).mul(largest).mul(chosen[:, None]).unbind(1)
    )
    cos, sin = torch.cos(angle) * log_scale.exp(), torch.sin(angle) * log_scale.exp()
    theta = torch.stack([torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)], 1)
    where = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    changed = F.grid_sample(images, where, padding_mode="border", align_corners=False)
    return changed.contiguous(memory_format=torch.channels_last)
