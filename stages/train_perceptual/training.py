"""Two-alternative forced choice, as LPIPS was trained (Zhang et al. 2018, section 3), with strength for a judge.

Of two copies of an image under one distortion, the stronger is the further one. A second task, for which half of
the batch serves, keeps kinds of change apart: a copy under a mild distortion is nearer than another image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.devices import channels_last
from pipeline.images import to_float
from pipeline.perceptual.small import SmallPerceptual
from pipeline.seeds import torch_generator
from stages.train_perceptual.config import TrainPerceptualConfig
from stages.train_perceptual.distortions import DISTORTIONS


def train(
    config: TrainPerceptualConfig, images: Tensor, rows: Tensor, on_step: Callable[[int, float], None]
) -> SmallPerceptual:
    """Train on some rows of images uint8 [N, H, W, 3]; no labels are used."""
    net = untrained_net(config.seed)
    # Weights stay non-negative as exponentials; `sharpness` scales a ratio of distances to a logit.
    logs = [torch.zeros_like(net.get_buffer(f"lin{i}"), requires_grad=True) for i in range(net.num_layers)]
    sharpness = torch.ones([], requires_grad=True)
    optimizer = torch.optim.Adam([*net.parameters(), *logs, sharpness], lr=config.learning_rate)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
        set_weights(net, logs)
        reference, near, far = draw_triplets(images, rows, config.train_batch, config.seed, step)
        loss = choice_loss(net, reference, near, far, sharpness)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_step(step + 1, loss.item())
    set_weights(net, logs)
    for i in range(net.num_layers):
        net.register_buffer(f"lin{i}", net.get_buffer(f"lin{i}").detach())
    return net.eval().requires_grad_(False)


def untrained_net(seed: int) -> SmallPerceptual:
    """The net as training begins with it: random convolutions, equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_last(SmallPerceptual())


def set_weights(net: SmallPerceptual, logs: list[Tensor]) -> None:
    """Make the layer weights non-negative, with mean 1 / channels."""
    for i, log in enumerate(logs):
        net.register_buffer(f"lin{i}", log.exp() / log.numel())


def choice_loss(net: SmallPerceptual, reference: Tensor, near: Tensor, far: Tensor, sharpness: Tensor) -> Tensor:
    """Cross-entropy of choosing `far` as the further one from the log ratio of the distances."""
    to_near, to_far = distances(net, reference, near, far)
    return F.softplus(-sharpness * ((to_far + 1e-4).log() - (to_near + 1e-4).log())).mean()


def distances(net: SmallPerceptual, reference: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B] of `near` and of `far` to `reference`."""
    features = net.weigh(net.trunk(torch.cat([reference, near, far])))
    a, b, c = ([layer.chunk(3)[i] for layer in features] for i in range(3))
    pair = [
        torch.stack([(u - v).square().sum(dim=1).mean(dim=(1, 2)) for u, v in zip(a, other, strict=True)]).sum(0)
        for other in (b, c)
    ]
    return pair[0], pair[1]


def draw_triplets(images: Tensor, rows: Tensor, count: int, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Originals among some rows of images uint8 [N, H, W, 3], and for each a nearer and a further image.

    All are [count, 3, H, W] in [-1, 1].
    """
    rng = torch_generator(seed, "train-perceptual", step)
    reference = to_float(images[rows[torch.randint(len(rows), (count,), generator=rng)]])
    distortion = DISTORTIONS[int(torch.randint(len(DISTORTIONS), (), generator=rng))]
    weak, strong = torch.rand(2, count, generator=rng).sort(dim=0).values
    near, far = distortion(reference, weak, rng), distortion(reference, strong, rng)
    if step % 2:
        others = to_float(images[rows[torch.randint(len(rows), (count // 2,), generator=rng)]])
        near[: count // 2] = distortion(reference, weak.clamp_max(0.5), rng)[: count // 2]
        far = torch.cat([others, far[count // 2 :]])
    return reference, near.clamp(-1, 1), far.clamp(-1, 1)


@torch.inference_mode()
def accuracy(net: SmallPerceptual, images: Tensor, rows: Tensor, seed: int, batches: int = 40) -> float:
    """Share of held-out choices that come out right, on some rows of images uint8 [N, H, W, 3]."""
    right = total = 0
    for step in range(batches):
        to_near, to_far = distances(net, *draw_triplets(images, rows, 64, seed + 1, step))
        right += int((to_far > to_near).sum())
        total += len(to_near)
    return right / total
