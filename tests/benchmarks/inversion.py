"""`pipeline invert` against the published projector: how long each takes to the same quality."""

import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pipeline.build import Build
from pipeline.generators import open_generator
from pipeline.images import to_float
from pipeline.listing import create_build
from pipeline.perceptual import load_perceptual
from stages.invert.command import choose_method
from stages.invert.config import InvertConfig
from stages.invert.fit import Fitter
from tests.benchmarks.reference import Point, reference_alone, reference_curve
from tests.benchmarks.timing import Measured

COUNT = 64  # images that ours takes at once, and the big batch
COMPARED = 6  # of them, which the reference projects one at a time
STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 30, 40, 50, 60, 75)
PLOT = Path("benchmarks-inversion.png")


@lru_cache(maxsize=1)
def scene() -> tuple[Build, list[str], np.ndarray]:
    """A build of color-digits, and some of its digits from both splits."""
    build = create_build(Path(tempfile.mkdtemp()) / "build", "color-digits")
    samples = build.samples().iloc[:: len(build.samples()) // COUNT].head(COUNT)
    pixels = np.stack([build.reader.load(source).pixels for source in samples["source"]])
    return build, samples["id"].tolist(), pixels


@lru_cache(maxsize=1)
def alone() -> list[Point]:
    """The reference, one image at a time."""
    net = load_perceptual("color-digits")
    return reference_alone(open_generator("color-digits").network, net, to_float(scene()[2][:COMPARED]))


@lru_cache(maxsize=1)
def ours() -> tuple[list[Point], str]:
    """Ours with its defaults at several most steps; quality is that of the compared images. And its method."""
    build, ids, pixels = scene()
    method, encoder = choose_method("auto", build.manifest, "color-digits", None)
    points = []
    for steps in (STEPS[0], *STEPS):  # the first warms up, and measures the preconditioner
        config = InvertConfig(method=method, steps=steps, tolerance=0, poor=1e9)
        fitter = Fitter(config, "color-digits", "color-digits", encoder, torch.device("cpu"), None)
        began = time.process_time()
        columns = fitter.fit(build, pixels, ids, ids)
        spent = (time.process_time() - began) / COUNT
        quality = (float(columns[name][:COMPARED].mean()) for name in ("psnr", "lpips"))
        points.append(Point(steps, spent, *quality))
    return points[1:], method


def first_as_good(points: list[Point], wanted: Point) -> Point:
    """The cheapest point that is at least as good in both measures."""
    return next(p for p in points if p.psnr >= wanted.psnr and p.distance <= wanted.distance)


def compared(name: str, reference: Point, what: str) -> Measured:
    """How many times more images a second ours does, at a quality at least as good."""
    points, method = ours()
    found = first_as_good(points, reference)
    return Measured(
        name,
        reference.seconds / found.seconds,
        f"{found.seconds * 1e3:.0f} ms an image ({found.steps} steps)",
        f"{what} {reference.seconds * 1e3:.0f} ms ({reference.steps} steps)",
        quality={
            "psnr": found.psnr,
            "distance": found.distance,
            "reference_psnr": reference.psnr,
            "reference_distance": reference.distance,
        },
        settings={"method": method, "batch": COUNT, "compared_images": COMPARED, "threads": 1},
    )


def bench_invert_vs_reference_final() -> Measured:
    """At the quality that the published schedule ends with."""
    return compared("invert_vs_reference_final", alone()[-1], "one at a time")


def bench_invert_vs_reference_100() -> Measured:
    """At the quality that it has after 100 of its steps."""
    return compared("invert_vs_reference_100", next(p for p in alone() if p.steps == 100), "one at a time")


def bench_invert_vs_big_batch() -> Measured:
    """Against the published schedule as one batch of as many images, judged on all of them."""
    _, _, pixels = scene()
    images = to_float(pixels)
    reference = reference_curve(open_generator("color-digits").network, load_perceptual("color-digits"), images)
    draw_curves(reference)
    return compared("invert_vs_big_batch", reference[-1], f"as a batch of {COUNT}")


def draw_curves(batch: list[Point]) -> None:
    """Print and plot the time-quality curves of all three."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points, method = ours()
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    names = (
        "published schedule, one at a time",
        f"published schedule, batch of {COUNT}",
        f"pipeline invert ({method})",
    )
    curves = dict(zip(names, (alone(), batch, points), strict=True))
    for label, curve in curves.items():
        print(f"    {label}: " + ", ".join(f"{p.steps}: {p.seconds:.3f} s {p.psnr:.1f} dB" for p in curve))
        times = [p.seconds for p in curve]
        axes[0].plot(times, [p.psnr for p in curve], marker=".", label=label)
        axes[1].plot(times, [p.distance for p in curve], marker=".", label=label)
    for axis, title in zip(axes, ("PSNR, dB", "perceptual distance"), strict=True):
        axis.set(xscale="log", xlabel="seconds an image, one core", title=title)
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    figure.legend(handles=axes[0].lines, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(PLOT, dpi=110)
    pyplot.close(figure)
