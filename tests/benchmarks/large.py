"""Inversion at 256x256 and 1024x1024 against the published projector, with the same networks of official size.

Real weights cannot be shipped, so StyleGAN2 and VGG-16 have random ones, the generator's scaled so that its images
span about [-1, 1]. One image is a rendering of a random, style-mixed w+, within the generator's range; the other a
photograph, far outside it. Each runs alone on one core. What is compared is the time until the loss is as low as
the published schedule ends with, the probes of the preconditioner included as a run of so many images shares them.
"""

import time
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from pipeline.devices import channels_last
from pipeline.generators.loading import LoadedGenerator
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.images import to_float, to_uint8
from pipeline.manifest import GeneratorManifest
from pipeline.perceptual.vgg16 import CONVS, VGG16Perceptual, linear_weights_path, load_tensors
from stages.invert.config import InvertConfig
from stages.invert.latents import ExtendedW
from stages.invert.losses import Projection
from stages.invert.optimizers import Lbfgs
from stages.invert.preconditioner import PROBES, Preconditioner, make_preconditioner, probe, random_w
from tests.benchmarks.reference import STEPS, Point, judged, reference_curve
from tests.benchmarks.timing import Measured

CHANNELS = {256: 16384, 1024: 32768}  # times the resolution, StyleGAN2-ADA's configuration `auto`
MANY, FEW = 64, 8  # images of a run that the probes are shared by
JUDGED = (5, *range(10, 151, 10), 175, 200, 250, 300)
SHORT = 250  # steps of the schedule at 1024x1024, whose whole length takes hours
SPREAD = 0.4  # standard deviation of the pixels
CPU = torch.device("cpu")
PLOT = Path("benchmarks-large.png")


def random_generator(resolution: int) -> LoadedGenerator:
    """StyleGAN2 of official size, with random weights."""
    torch.manual_seed(0)
    sizes = [4 << i for i in range((resolution // 4).bit_length())]
    channels = {size: min(512, CHANNELS[resolution] // size) for size in sizes}
    network = channels_last(StyleGAN2(resolution, channels, conv_clamp=256)).eval().requires_grad_(False)
    network.arrange()
    with torch.no_grad():
        spread = float(network.synthesize(network.map(torch.randn(4, network.z_dim))).std())
        for size in sizes:
            network.synthesis.block(size).torgb.weight.mul_(SPREAD / spread)
    manifest = GeneratorManifest(name="random", family="stylegan2", resolution=resolution, fine_layers=(0,))
    return LoadedGenerator(network, manifest, (0,), "")


@lru_cache(maxsize=1)
def random_vgg() -> VGG16Perceptual:
    """VGG-16 with random weights and the linear layers of LPIPS."""
    torch.manual_seed(1)
    net = VGG16Perceptual()
    linear = load_tensors(linear_weights_path())
    for i in CONVS:
        torch.nn.init.kaiming_normal_(net.get_buffer(f"weight{i}"))
    for i in range(net.num_layers):
        net.get_buffer(f"lin{i}").copy_(linear[f"lin{i}.model.1.weight"].flatten())
    return channels_last(net.eval())


def pictures(network: StyleGAN2) -> dict[str, Tensor]:
    """What is inverted, each [1, 3, H, W] and rounded to 8 bits."""
    size = network.resolution
    with torch.no_grad():
        rendered = network.synthesize(random_w(network, 1, torch.Generator().manual_seed(5), CPU))
    photo = Image.fromarray(load_sample_image("flower.jpg")[:427, 100:527]).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    return {"rendered": to_float(to_uint8(rendered)), "photograph": to_float(np.asarray(photo)[None])}


def our_curve(loaded: LoadedGenerator, net: VGG16Perceptual, image: Tensor, found: Preconditioner) -> list[Point]:
    """The default method without an encoder, as `pipeline invert` does it, to the last of JUDGED."""
    network, latents = loaded.network, ExtendedW(loaded.network.num_ws)
    with torch.no_grad():
        drawn = network.map(torch.randn(10_000, network.z_dim, generator=torch.Generator().manual_seed(0)))
        start = drawn.mean(dim=0, keepdim=True)
    config = InvertConfig(method="lpips", steps=JUDGED[-1] + 1)
    began = time.process_time()
    problem = Projection(config, loaded, net, to_uint8(image), ["image"], latents, start)
    search = Lbfgs(1, found, config.steps, 0.0)
    one = torch.zeros(1, dtype=torch.int64)
    problem.resize(1)
    search.enter(one, problem.enter(one, one))
    points, judging = [], 0.0
    for step in range(1, JUDGED[-1] + 1):
        theta = search.propose().detach().requires_grad_(True)
        loss = problem.loss(theta, one)
        search.observe(loss.detach(), *torch.autograd.grad(loss.sum(), theta))
        if step in JUDGED:
            now = time.process_time()
            points.append(Point(step, now - began - judging, *judged(network, net, search.result(), image)))
            judging += time.process_time() - now
    return points


@lru_cache(maxsize=2)
def curves(resolution: int, steps: int) -> tuple[float, dict[str, tuple[list[Point], list[Point]]]]:
    """Seconds of the preconditioner; and for each picture the published projector's curve, and ours."""
    loaded, net = random_generator(resolution), random_vgg()
    began = time.process_time()
    latents = ExtendedW(loaded.network.num_ws)
    found = make_preconditioner(loaded.network, latents, probe(loaded.network, latents, range(PROBES), 1, CPU))
    prepared = time.process_time() - began
    both = {}
    for name, image in pictures(loaded.network).items():
        ours = our_curve(loaded, net, image, found)
        both[name] = reference_curve(loaded.network, net, image, steps), ours
        for label, points in zip(("published", "ours"), both[name], strict=True):
            shown = ", ".join(f"{p.steps}: {p.seconds:.0f} s {p.loss:.4f} {p.psnr:.1f} dB" for p in points)
            print(f"    {resolution} {name}, {label}: {shown}", flush=True)
    return prepared, both


def until(points: list[Point], loss: float) -> float:
    """Seconds until the loss is as low, between the points by the logarithm of the loss."""
    for before, after in pairwise(points):
        if after.loss <= loss:
            gone = np.log(before.loss / max(loss, after.loss)) / np.log(before.loss / after.loss)
            return before.seconds + float(np.clip(gone, 0, 1)) * (after.seconds - before.seconds)
    return float("nan")


def compared(name: str, resolution: int, steps: int, images: int) -> Measured:
    """How many times more images a second, in a run of so many; each picture counts alike."""
    prepared, both = curves(resolution, steps)
    theirs = {picture: reference[-1] for picture, (reference, _) in both.items()}
    needed = {picture: until(ours, theirs[picture].loss) for picture, (_, ours) in both.items()}
    each = sum(needed.values()) / len(needed) + prepared / images
    reference = sum(point.seconds for point in theirs.values()) / len(theirs)
    per_picture = {
        f"ratio_{picture}": theirs[picture].seconds / (needed[picture] + prepared / images) for picture in needed
    }
    return Measured(
        name,
        reference / each,
        f"{each:.0f} s an image, {prepared:.0f} s of probes shared by {images}",
        f"the published schedule of {steps} steps: {reference:.0f} s",
        quality=per_picture | {f"loss_{picture}": point.loss for picture, point in theirs.items()},
        settings={"threads": 1, "curves": {p: [[asdict(x) for x in c] for c in both[p]] for p in both}},
    )


def bench_invert_256() -> Measured:
    """A run of 64 images at 256x256."""
    return compared("invert_256", 256, STEPS, MANY)


def bench_invert_256_few() -> Measured:
    """A run of 8 images at 256x256."""
    return compared("invert_256_few", 256, STEPS, FEW)


def bench_invert_1024() -> Measured:
    """A run of 64 images at 1024x1024, against a quarter of the published schedule."""
    return compared("invert_1024", 1024, SHORT, MANY)
