"""Parts, each against the usual way of doing it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators import open_generator
from pipeline.perceptual import load_perceptual
from pipeline.store import ArraySpec, create_group, write_rows
from tests.benchmarks.reading import reading_rates
from tests.benchmarks.timing import Measured, seconds

BATCH = 64
STEP = """
import sys, torch
from pipeline.devices import use_one_thread
use_one_thread() if sys.argv[1] == "keep" else torch.set_num_threads(1)
from tests.benchmarks.parts import gradient_step
from tests.benchmarks.timing import seconds
print(seconds(lambda: gradient_step(64), 9))
"""


def per_sample_weights(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Modulated convolution the usual way: one set of weights for each sample, as a grouped convolution."""
    batch, _, height, width = x.shape
    w = weight[None] * styles[:, None, :, None, None]
    w = w * (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    out = F.conv2d(x.reshape(1, -1, height, width), w.flatten(0, 1), padding=1, groups=batch)
    return out.reshape(batch, -1, height, width)


def scaled_activations(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """The same as one ordinary convolution, as `pipeline.generators.stylegan2` does it."""
    demodulation = (styles.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()
    return F.conv2d(x * styles[:, :, None, None], weight, padding=1) * demodulation[:, :, None, None]


def bench_modulation() -> Measured:
    """Forward and backward of a 64-channel modulated convolution at 16x16."""
    x, weight, styles = torch.randn(BATCH, 64, 16, 16), torch.randn(64, 64, 3, 3), torch.randn(BATCH, 64)
    styles.requires_grad_(True)
    torch.testing.assert_close(
        per_sample_weights(x, weight, styles), scaled_activations(x, weight, styles), rtol=1e-3, atol=1e-3
    )
    usual = seconds(lambda: torch.autograd.grad(per_sample_weights(x, weight, styles).sum(), styles))
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    ours = seconds(lambda: torch.autograd.grad(scaled_activations(x, weight, styles).sum(), styles))
    return Measured("modulation", usual / ours, f"{ours * 1e3:.1f} ms", f"per-sample weights {usual * 1e3:.1f} ms")


def gradient_step(batch: int) -> Tensor:
    """One step of inversion without the optimiser: render, compare, and the gradient by w+."""
    network, net = open_generator("color-digits").network, load_perceptual("color-digits")
    w = torch.zeros(batch, network.num_ws, network.w_dim, requires_grad=True)
    images = network.synthesize(w)
    target = net.target(torch.zeros(1, 3, 32, 32)).rows(torch.zeros(batch, dtype=torch.int64))
    return torch.autograd.grad(net.distance(images, target).sum(), w)[0]


def bench_fused() -> Measured:
    """A gradient step compiled by torch.compile (`invert --compile`), against the same without."""
    network, net = open_generator("color-digits").network, load_perceptual("color-digits")
    target = net.target(torch.zeros(BATCH, 3, 32, 32))
    w = torch.zeros(BATCH, network.num_ws, network.w_dim, requires_grad=True)

    def loss(w: Tensor) -> Tensor:
        return net.distance(network.synthesize(w), target)

    fused = torch.compile(loss, dynamic=False)
    fused(w).sum().backward()
    usual = seconds(lambda: torch.autograd.grad(loss(w).sum(), w)) / BATCH
    ours = seconds(lambda: torch.autograd.grad(fused(w).sum(), w)) / BATCH
    return Measured("fused", usual / ours, f"{ours * 1e3:.1f} ms an image and step", f"eager {usual * 1e3:.1f} ms")


def bench_batch() -> Measured:
    """A gradient step on a batch, against one image at a time."""
    ours, single = seconds(lambda: gradient_step(BATCH)) / BATCH, seconds(lambda: gradient_step(1), 15)
    return Measured(
        "invert_batch",
        single / ours,
        f"{ours * 1e3:.2f} ms an image-step",
        f"one at a time {single * 1e3:.2f} ms",
    )


def bench_target_features() -> Measured:
    """Perceptual loss with the target's features kept, against computing them at each step."""
    net = load_perceptual("color-digits")
    images, targets = torch.rand(2, BATCH, 3, 32, 32) * 2 - 1
    target = net.target(targets)
    ours = seconds(lambda: net.distance(images, target))
    fresh = seconds(lambda: net.distance(images, net.target(targets)))
    return Measured("target_features", fresh / ours, f"{ours * 1e3:.1f} ms", f"anew each step {fresh * 1e3:.1f} ms")


def bench_store() -> Measured:
    """Rate of writing latents of 18x512 with checksum and digest, against a plain write of the same bytes."""
    w = np.random.default_rng(0).normal(size=(256, 18, 512)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.zarr"
        create_group(path, 256, 64, {"w": ArraySpec("float32", (18, 512), ("layer", "channel"), sharded=True)}, {})
        ours = seconds(lambda: [write_rows(path, i, {"w": w[i : i + 64]}) for i in range(0, 256, 64)])
        plain = seconds(lambda: (Path(folder) / "plain").write_bytes(w.tobytes()))
    megabytes = w.nbytes / 1e6
    return Measured(
        "store", plain / ours, f"{megabytes / ours:.0f} MB/s", f"plain file {megabytes / plain:.0f} MB/s"
    )


def bench_allocator() -> Measured:
    """A gradient step in a process that keeps freed memory against one that does not."""
    times: dict[str, list[float]] = {"keep": [], "return": []}
    for _ in range(2):  # alternating, since the machine's speed drifts
        for name, found in times.items():
            done = subprocess.run([sys.executable, "-c", STEP, name], capture_output=True, text=True, check=True)
            found.append(float(done.stdout))
    ours, other = min(times["keep"]), min(times["return"])
    return Measured(
        "allocator",
        other / ours,
        f"{ours / BATCH * 1e3:.2f} ms an image-step",
        f"glibc's defaults {other / BATCH * 1e3:.2f} ms",
    )


def bench_reading() -> Measured:
    """Decoding and resizing 500x375 JPEGs to 256x256, images a second on one core, against Pillow's bicubic."""
    rates = reading_rates()
    ours, pillow = rates["bicubic"], rates["pillow bicubic"]
    return Measured("reading", ours / pillow, f"{ours:.0f} JPEG a second", f"Pillow {pillow:.0f} a second")
