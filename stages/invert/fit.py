"""Images of one task in, their w+ and how good those are out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.batches import batch_slots
from pipeline.build import Build
from pipeline.composition import render
from pipeline.encoders import encode, open_encoder
from pipeline.errors import DatasetError
from pipeline.generators import LoadedGenerator, open_generator
from pipeline.images import Pixels, psnr, to_float, to_uint8
from pipeline.latents import to_tensor
from pipeline.memory import in_batches
from pipeline.perceptual import load_perceptual
from pipeline.progress import part
from pipeline.seeds import seed_of, torch_generator
from pipeline.slots import Problem, Solution, solve
from stages.invert.compiled import CompiledLosses
from stages.invert.config import InvertConfig
from stages.invert.latents import ExtendedW, Latents, make_latents
from stages.invert.losses import Algorithm1, Projection
from stages.invert.optimizers import Adam, Lbfgs
from stages.invert.preconditioner import PROBES, Preconditioner, make_preconditioner, probe
from stages.invert.probing import keep, present_preconditioner

MEAN_SAMPLES = 10_000  # M of Algorithm 1, line 1
RETRY_STEPS = 4  # times as many steps for an image that went badly
FEWEST_COMPARED = 16  # images that a deviation means something among
SMALL = 0.02  # share of the work before the search, and after it

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Fitter:
    """Inverts images by the configured method."""

    config: InvertConfig
    generator: str
    perceptual: str
    encoder: str | None
    device: torch.device
    batch_size: int | None
    compiled: bool = False

    def fit(self, build: Build, pixels: Pixels, ids: list[str], sources: list[str]) -> Columns:
        """Invert pixels uint8 [N, H, W, 3].

        Returns:
            Arrays `w`, `lpips`, `l1`, `psnr`, `steps`, `image`, `original`, with several codes also `codes` and
            `alpha`.
        """
        method = self.config.method
        if method in ("given", "encoder"):
            with part(0, 0.5):
                w = self.given(build, sources) if method == "given" else self.starts(pixels)
            layers = ExtendedW(w.shape[1])
            with part(0.5, 1):
                return self.measured(pixels, layers, Solution(w.cpu(), torch.zeros(len(w))))
        with part(0, SMALL):
            starts = self.starts(pixels)
        return self.searched(build, self.config, pixels, ids, starts)

    def given(self, build: Build, sources: list[str]) -> Tensor:
        """The latents that the dataset brings, w+ [N, num_ws, w_dim].

        Raises:
            DatasetError: it brings none, or none of this generator.
            SampleError: one cannot be read.
        """
        network = open_generator(self.generator, self.device.type).network
        wanted = (network.num_ws, network.w_dim)
        found = [given_w(build, source) for source in sources]
        for source, w in zip(sources, found, strict=True):
            if w.shape != wanted or not np.isfinite(w).all():
                raise DatasetError(
                    f"dataset '{build.manifest.name}': the latents of {source} have the shape {w.shape}, or are no "
                    f"numbers, and generator '{self.generator}' has {wanted}: name another one with --generator, "
                    f"or use --method lpips"
                )
        return to_tensor(np.stack(found))

    def fit_again(self, build: Build, pixels: Pixels, ids: list[str]) -> Columns:
        """Invert images that went badly once more: from the mean, and with patience."""
        patient = replace(self.config, steps=RETRY_STEPS * self.config.steps, tolerance=0.0)
        return self.searched(build, patient, pixels, ids, self.mean_starts(len(pixels)))

    def searched(
        self, build: Build, config: InvertConfig, pixels: Pixels, ids: list[str], starts: Tensor
    ) -> Columns:
        """What `fit` returns, of the search from `starts`, w+ [N, num_ws, w_dim]."""
        latents = make_latents(config, open_generator(self.generator, self.device.type))
        with part(SMALL, 1 - SMALL):
            solution = self.solve(build, config, latents, pixels, ids, starts)
        with part(1 - SMALL, 1):
            return self.measured(pixels, latents, solution)

    def starts(self, pixels: Pixels) -> Tensor:
        """Where the samples begin: the encoder's w+, or the mean w (Algorithm 1, line 1)."""
        if self.encoder is None or self.config.method in ("lpips", "algorithm1"):
            return self.mean_starts(len(pixels))
        loaded = open_encoder(self.encoder, self.generator, self.device.type)
        network = open_generator(self.generator, self.device.type).network

        def encoded(rows: slice) -> Tensor:
            with torch.inference_mode():
                return encode(loaded.network, network, to_float(pixels[rows]).to(self.device), loaded.passes)

        return torch.cat(in_batches(len(pixels), self.slots(), encoded, reported=True)).clone()

    def mean_starts(self, count: int) -> Tensor:
        """The mean w in every layer, [count, num_ws, w_dim]."""
        loaded = open_generator(self.generator, self.device.type)
        return mean_w(loaded, self.config.seed).expand(count, loaded.network.num_ws, -1)

    def solve(
        self, build: Build, config: InvertConfig, latents: Latents, pixels: Pixels, ids: list[str], starts: Tensor
    ) -> Solution:
        """Minimise the method's loss from `starts`, w+ [N, num_ws, w_dim]."""
        loaded = open_generator(self.generator, self.device.type)
        perceptual = load_perceptual(self.perceptual, self.device.type)
        basis = self.preconditioner(build, latents, loaded)
        random = config.method == "algorithm1"
        theta = latents.start(starts, [seed_of(config.seed, "codes", name) for name in ids])
        problem: Problem = (Algorithm1 if random else Projection)(
            config, loaded, perceptual, pixels, ids, latents, theta
        )
        if self.compiled:
            problem = CompiledLosses(problem, min(self.slots(), config.chunk_size or self.slots()))

        def optimizer(slots: int) -> Adam | Lbfgs:
            if random:
                return Adam(slots, basis, config.steps, config.learning_rate)
            return Lbfgs(slots, basis, config.steps, config.tolerance)

        shape = (latents.rows, loaded.network.w_dim)
        return solve(problem, len(pixels), self.slots(), shape, optimizer, config.steps)

    def preconditioner(self, build: Build, latents: Latents, loaded: LoadedGenerator) -> Preconditioner:
        """The build's preconditioner for this generator and space; without one, all of it is measured here."""
        found = present_preconditioner(build, self.config, loaded)
        if found is None:
            probes = probe(loaded.network, latents, range(PROBES), self.slots(), self.device)
            found = make_preconditioner(loaded.network, latents, probes)
            keep(build, self.config, loaded, found)
        return Preconditioner(found.basis.to(self.device))

    def slots(self) -> int:
        """Images computed at once: --batch-size, or what fits."""
        return batch_slots(self.batch_size, self.generator, self.perceptual, self.device)

    def measured(self, pixels: Pixels, latents: Latents, solution: Solution) -> Columns:
        """Render a solution and compare with pixels uint8 [N, H, W, 3]."""
        network = open_generator(self.generator, self.device.type).network
        perceptual = load_perceptual(self.perceptual, self.device.type)

        def measured(rows: slice) -> Columns:
            with torch.inference_mode():
                target = perceptual.target(to_float(pixels[rows]).to(self.device))
                theta = solution.w[rows].to(self.device)
                w, composition = latents.w(theta), latents.composition(theta)
                images = render(network, w, composition)
                measures = {
                    "lpips": perceptual.distance(images, target),
                    "l1": (images - target.images).abs().mean(dim=(1, 2, 3)),
                    "psnr": psnr(images, target.images),
                }
            some = {name: values.float().cpu().numpy() for name, values in measures.items()}
            some |= {"image": to_uint8(images.nan_to_num()), "w": w.cpu().numpy()}
            if composition is not None:
                some |= {"codes": composition.codes.cpu().numpy(), "alpha": composition.alpha.cpu().numpy()}
            return some

        parts = in_batches(len(pixels), self.slots(), measured, reported=True)
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {**columns, "steps": solution.steps.float().numpy(), "original": pixels}


def given_w(build: Build, source: str) -> NDArray[np.float32]:
    """The latent that the dataset brings for a sample, w+ [num_ws, w_dim].

    Raises:
        DatasetError: it brings none.
        SampleError: it cannot be read.
    """
    latent: Callable[[str], NDArray[np.float32]] | None = getattr(build.reader, "latent", None)
    if latent is None:
        raise DatasetError(f"dataset '{build.manifest.name}' brings no latents: use another --method")
    return latent(source)


def is_poor(distances: NDArray[np.float32], deviations: float) -> NDArray[np.bool_]:
    """Which distances [N] are far beyond the others, in robust deviations of their logarithm from its median."""
    if len(distances) < FEWEST_COMPARED:
        return np.zeros(len(distances), dtype=bool)
    logs = np.log(np.maximum(distances, 1e-12))
    finite = logs[np.isfinite(logs)]
    if len(finite) == 0:
        return np.zeros(len(distances), dtype=bool)
    median = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - median))
    return np.asarray(logs > median + deviations * max(float(spread), 0.1))


@lru_cache(maxsize=4)
def mean_w(generator: LoadedGenerator, seed: int) -> Tensor:
    """Mean of MEAN_SAMPLES mapped latents [1, num_ws or 1, w_dim] (Algorithm 1, line 1)."""
    network = generator.network
    z = torch.randn(MEAN_SAMPLES, network.z_dim, generator=torch_generator(seed, "mean w"))
    c = torch.zeros(MEAN_SAMPLES, network.c_dim) if network.c_dim else None
    device = network.device
    with torch.inference_mode():
        w = network.map(z.to(device), None if c is None else c.to(device))
        return w.mean(dim=0)[None].clone()
