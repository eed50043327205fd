"""Eq. 10: the encoder is frozen, and the synthesis network learns to render the dataset from its codes.

The mapping stays, so z and w mean what they meant; `keep_weight` holds the rendering of random w near what it was.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.batches import rendered_slots_of
from pipeline.devices import channels_last
from pipeline.encoders import LoadedEncoder, encode
from pipeline.generators.layered import LayeredGenerator
from pipeline.images import psnr, to_float
from pipeline.perceptual import PerceptualNet
from pipeline.seeds import torch_generator
from stages.shift_generator.config import ShiftGeneratorConfig

EDITS = 64  # random edits by which two generators are compared


class Trainer:
    """The generator that shifts, beside the one that stays."""

    def __init__(
        self,
        config: ShiftGeneratorConfig,
        generator: LayeredGenerator,
        encoder: LoadedEncoder,
        perceptual: PerceptualNet,
        device: torch.device,
    ):
        self.config, self.before, self.encoder, self.perceptual = config, generator, encoder, perceptual
        self.device, self.step = device, 0
        self.generator = channels_last(copy.deepcopy(generator)).requires_grad_(True)
        for name, parameter in self.generator.named_parameters():
            if name.startswith("mapping."):
                parameter.requires_grad_(False)
        trained = [p for p in self.generator.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate, betas=(0.9, 0.99))

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """What a checkpoint holds of networks."""
        return {"generator": self.generator}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """What a checkpoint holds of optimisers."""
        return {"optimizer": self.optimizer}

    def train_step(self, images: Tensor) -> dict[str, float]:
        """One update on real images, drawn from uint8 [N, H, W, 3]; return the losses."""
        config = self.config
        rng = torch_generator(config.seed, "shift-generator", self.step)
        rate = min(1.0, 2 * (1 - self.step / config.steps))
        self.optimizer.param_groups[0]["lr"] = config.learning_rate * rate
        chosen = torch.randint(len(images), (config.train_batch,), generator=rng)
        real = to_float(images[chosen].numpy()).to(self.device)
        target = self.perceptual.target(real)
        with torch.no_grad():
            w = encode(self.encoder.network, self.generator, real, self.encoder.passes)
        rendered = self.generator.synthesize(w)
        pixel = (rendered - real).abs().mean()
        features = zip(self.perceptual.activations(rendered), target.activations, strict=True)
        feature = torch.stack([(a - b).abs().mean() for a, b in features]).sum()
        loss = config.pixel_weight * pixel + config.feature_weight * feature
        losses = {"image": loss.item()}
        if config.keep_weight:
            drawn = self.random_w(config.train_batch, rng)
            with torch.no_grad():
                kept = self.before.synthesize(drawn)
            moved = (self.generator.synthesize(drawn) - kept).abs().mean()
            loss = loss + config.keep_weight * moved
            losses["moved"] = moved.item()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return losses

    def random_w(self, count: int, rng: torch.Generator) -> Tensor:
        """W+ [count, num_ws, w_dim] of random z."""
        network = self.before
        z = torch.randn(count, network.z_dim, generator=rng).to(self.device)
        c = None
        if network.c_dim:
            c = torch.eye(network.c_dim)[torch.randint(network.c_dim, (count,), generator=rng)].to(self.device)
        with torch.no_grad():
            return network.map(z, c)

    @torch.inference_mode()
    def quality(self, generator: LayeredGenerator, images: Tensor) -> float:
        """Mean PSNR in dB of what the encoder's codes render as, on images uint8 [N, H, W, 3]."""
        total = 0.0
        for batch in images.split(rendered_slots_of(generator, self.device)):
            real = to_float(batch.numpy()).to(self.device)
            w = encode(self.encoder.network, generator, real, self.encoder.passes)
            total += float(psnr(generator.synthesize(w), real).sum())
        return total / len(images)

    @torch.inference_mode()
    def edits_alike(self) -> float:
        """Mean cosine between what the same edits of w do to the images of both generators.

        Near 1, a direction found for the one means the same for the other.
        """
        rng = torch_generator(self.config.seed, "edits")
        w, other = self.random_w(EDITS, rng), self.random_w(EDITS, rng)
        edit = 0.3 * (other - w)
        alike = []
        for rows in torch.arange(EDITS).split(rendered_slots_of(self.before, self.device)):
            one, two = (
                (g.synthesize(w[rows] + edit[rows]) - g.synthesize(w[rows])).flatten(1)
                for g in (self.before, self.generator)
            )
            alike.append(F.cosine_similarity(one, two))
        return float(torch.cat(alike).mean())
