"""BIES: two alternating updates, on generated images with their w (eq. 8) and on real images (eq. 9).

Every random draw of a step comes from (seed, step), so that a resumed run repeats an undisturbed one.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.batches import rendered_slots_of
from pipeline.devices import channels_last
from pipeline.encoders import passes_of
from pipeline.encoders.network import Encoder, default_channels
from pipeline.generators.layered import LayeredGenerator
from pipeline.images import psnr, to_float
from pipeline.perceptual import PerceptualNet
from pipeline.seeds import seed_of, torch_generator
from pipeline.training import blend
from stages.train_encoder.config import TrainEncoderConfig

MEAN_SAMPLES = 10_000
LEAST_MSE = 1e-4  # 46 dB


class Trainer:
    """The encoder, its average `ema`, and the frozen networks it is trained against."""

    def __init__(
        self,
        config: TrainEncoderConfig,
        generator: LayeredGenerator,
        perceptual: PerceptualNet,
        device: torch.device,
        init: Encoder | None = None,
    ):
        self.config, self.generator, self.perceptual, self.device = config, generator, perceptual, device
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(config.seed, "train-encoder"))
            channels = default_channels(generator.resolution)
            self.encoder = init or Encoder(channels, generator.num_ws, generator.w_dim, config.space)
        self.encoder.train().requires_grad_(True)
        rng = torch_generator(config.seed, "mean w")
        z = torch.randn(MEAN_SAMPLES, generator.z_dim, generator=rng).to(device)
        with torch.inference_mode():
            w = generator.map(z, self.labels(MEAN_SAMPLES, rng))[:, 0]
        self.encoder.mean_w.copy_(w.mean(dim=0))
        self.encoder.w_scale.copy_(w.std(dim=0))
        channels_last(self.encoder.to(device))
        self.ema = copy.deepcopy(self.encoder).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint holds of networks."""
        return {"encoder": self.encoder, "ema": self.ema}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """What a checkpoint holds of optimisers."""
        return {"optimizer": self.optimizer}

    def train_step(self, images: Tensor) -> dict[str, float]:
        """One update of each kind, the real images drawn from uint8 [N, H, W, 3]; return the losses."""
        config = self.config
        rng = torch_generator(config.seed, "train-encoder", self.step)
        progress = self.step / config.steps
        self.optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, 2 * (1 - progress))
        with torch.no_grad():
            w = self.draw_w(rng)
            generated = self.generator.synthesize(w)
        losses = {"latent": self.update(generated, w)}
        chosen = torch.randint(len(images), (config.train_batch,), generator=rng)
        real = jitter_colours(to_float(images[chosen].numpy()), config.colour_jitter, rng)
        losses["image"] = self.update(real.to(self.device), None)
        self.step += 1
        blend(self.ema, self.encoder, 1 - 0.5 ** (2 * config.train_batch / config.ema_half_life))
        return losses

    def update(self, images: Tensor, w: Tensor | None) -> float:
        """Correct `passes` times: eq. 8 where the true w is known, eq. 9 for every image; return the mean loss."""
        config, total = self.config, 0.0
        images = images.clamp(-1, 1)
        target = self.perceptual.target(images) if config.feature_weight else None
        self.optimizer.zero_grad(set_to_none=True)
        found = self.encoder.start(len(images))
        rendered = self.generator.synthesize(found[:1]).expand(len(images), -1, -1, -1)
        for _ in range(config.passes):
            found = self.encoder(images, rendered.detach().clamp(-1, 1), found.detach())
            rendered = self.generator.synthesize(found)
            loss = config.pixel_weight * pixel_loss(rendered, images, config.pixel_loss)
            if target is not None:
                features = zip(self.perceptual.activations(rendered), target.activations, strict=True)
                loss = loss + config.feature_weight * sum((a - b).abs().mean() for a, b in features)
            if w is not None:
                error = (found - w) / self.encoder.w_scale
                loss = loss + config.latent_weight * error.square().mean()
            loss.backward()
            total += loss.item()
        self.optimizer.step()
        return total / config.passes

    def draw_w(self, rng: torch.Generator) -> Tensor:
        """w+ [train_batch, num_ws, w_dim] of random z.

        In W+ some are mixed of three w at two random layers, and moved away from the mean by up to `stretch`: so
        the encoder also learns images that the generator can render but hardly ever draws.
        """
        config, network = self.config, self.generator
        batch = config.train_batch
        z = torch.randn(3, batch, network.z_dim, generator=rng).to(self.device)
        w = torch.stack([network.map(part, self.labels(batch, rng)) for part in z])
        if config.space == "w":
            return w[0]
        cuts = torch.randint(1, network.num_ws, (2, batch, 1), generator=rng)
        mixed = torch.rand(batch, 1, generator=rng) < config.style_mixing
        source = (torch.arange(network.num_ws) >= cuts).sum(dim=0) * mixed  # [batch, num_ws] of 0, 1, 2
        index = source.to(self.device)[None, :, :, None].expand(1, -1, -1, network.w_dim)
        stretch = 1 + (config.stretch - 1) * torch.rand(batch, 1, 1, generator=rng).to(self.device)
        return self.encoder.mean_w + stretch * (w.gather(0, index)[0] - self.encoder.mean_w)

    def labels(self, count: int, rng: torch.Generator) -> Tensor | None:
        """Random one-hot labels [count, c_dim] for a conditional generator, else None."""
        if not self.generator.c_dim:
            return None
        chosen = torch.randint(self.generator.c_dim, (count,), generator=rng)
        return torch.eye(self.generator.c_dim)[chosen].to(self.device)

    @torch.inference_mode()
    def measure(self, images: Tensor) -> list[float]:
        """Mean PSNR in dB after each pass of the averaged encoder, on images uint8 [N, H, W, 3]."""
        sums = [0.0] * self.config.passes
        for batch in images.split(rendered_slots_of(self.generator, self.device)):
            real = to_float(batch.numpy()).to(self.device)
            for number, w in enumerate(passes_of(self.ema, self.generator, real, self.config.passes)):
                sums[number] += float(psnr(self.generator.synthesize(w), real).sum())
        return [value / len(images) for value in sums]


def pixel_loss(rendered: Tensor, images: Tensor, kind: str) -> Tensor:
    """Mean distance of the pixels of images [B, 3, H, W] in [-1, 1]: `l1`, or `log-mse`.

    10 dB of mean PSNR are ln 10 of `log-mse`, which looks at relative errors: it still learns from images that are
    nearly right. An error of LEAST_MSE counts as none.
    """
    if kind == "l1":
        return (rendered - images).abs().mean()
    return ((rendered - images).square().mean(dim=(1, 2, 3)) + LEAST_MSE).log().mean()


def jitter_colours(images: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Shuffle the channels of each of images [B, 3, H, W] in [-1, 1] and scale each by 1 - amount to 1 + amount.

    Black stays black. So eq. 9, which needs no w, also teaches colours that the dataset hardly has.
    """
    if not amount:
        return images
    batch = len(images)
    order = torch.rand(batch, 3, generator=rng).argsort(dim=1)
    gains = 1 + amount * (2 * torch.rand(batch, 3, 1, 1, generator=rng) - 1)
    shuffled = images.gather(1, order[:, :, None, None].expand_as(images))
    return ((shuffled + 1) * gains - 1).clamp(-1, 1)
