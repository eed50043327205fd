"""Whole runs: what surrounds the solver, memory, workers, rendering of shards. Each in a process of its own."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.generators import load_generator
from pipeline.images import encode_png, to_uint8
from pipeline.store import read_rows
from tests.benchmarks.timing import Measured

FEW, MANY = 1_797, 100_000  # images of the two runs whose memory is compared
PER_TAR = 10_000
OVERHEAD_DIGITS = 1797  # all
WORKER_DIGITS = 768
RENDERED_DIGITS, VARIANTS, RENDER_BATCH = 1797, 12, 64
RENDER_ROUNDS = 4
COMMAND = "from pipeline.cli import main; main()"

RUN = """
import json, resource, sys, time
from pipeline.cli import main
from stages.invert import fit
spent = 0.0
def timed(method):
    def wrapped(self, *arguments):
        global spent
        began = time.perf_counter()
        try:
            return method(self, *arguments)
        finally:
            spent += time.perf_counter() - began
    return wrapped
fit.Fitter.solve, fit.Fitter.starts = timed(fit.Fitter.solve), timed(fit.Fitter.starts)
try:
    main(sys.argv[1:])
except SystemExit as done:
    assert not done.code, done.code
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"solver": spent, "peak": peak / 1024}))
"""


def invert(build: Path, *arguments: str) -> dict[str, float]:
    """Run `pipeline invert`; return its summary, its wall time, the solver's share of it and its peak memory."""
    began = time.perf_counter()
    command = [sys.executable, "-c", RUN, "invert", "--build", str(build), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary, own = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    return {**summary, **own, "wall": time.perf_counter() - began}


def bench_overhead_share() -> Measured:
    """All but encoder and solver (opening, reading, measuring, Zarr, ledger) as a share of a run in one process."""
    with tempfile.TemporaryDirectory() as folder:
        found = invert(
            Path(folder) / "b", "--dataset", "color-digits", "--limit", str(OVERHEAD_DIGITS), "--workers", "0"
        )
    share = 1 - found["solver"] / found["seconds"]
    return Measured(
        "overhead_share",
        share,
        f"{found['seconds'] - found['solver']:.2f} s",
        f"of {found['seconds']:.1f} s for {OVERHEAD_DIGITS} digits",
        unit="share",
        settings={"workers": 0, "digits": OVERHEAD_DIGITS},
    )


def write_tars(folder: Path, count: int) -> Path:
    """Tars of synthetic 32x32 images, and the manifest that declares them."""
    rng = np.random.default_rng(0)
    for start in range(0, count, PER_TAR):
        with tarfile.open(folder / f"train-{start // PER_TAR:06d}.tar", "w") as tar:
            for i in range(start, min(start + PER_TAR, count)):
                pixels = np.broadcast_to(rng.integers(0, 256, (1, 1, 3)), (32, 32, 3)).astype(np.uint8)
                for suffix, data in (("png", encode_png(pixels)), ("cls", b"0")):
                    member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    manifest = folder / "synthetic.toml"
    manifest.write_text(
        'name = "synthetic"\nformat = "webdataset"\nresolution = 32\nroot = "."\nclasses = ["one"]\n'
        'generator = "color-digits"\nperceptual = "color-digits"\n'
    )
    return manifest


def bench_memory_growth() -> Measured:
    """Peak memory of one worker's process with 100,000 images over that with 1,797; one step for each."""
    peaks = []
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_tars(Path(folder), count)
            settings = ["--dataset", str(manifest), "--method", "lpips", "--steps", "1", "--poor", "1000000"]
            peaks.append(invert(Path(folder) / "b", *settings, "--workers", "0")["peak"])
    return Measured(
        "memory_growth",
        peaks[1] / peaks[0],
        f"{peaks[1]:.0f} MiB for {MANY:,} images",
        f"{peaks[0]:.0f} MiB for {FEW:,}",
        settings={"steps": 1, "workers": 0},
    )


def bench_two_workers() -> Measured:
    """Wall time of the solver's work, two workers on two cores against one on one; start-up excluded."""
    times = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            common = [
                "--dataset", "color-digits", "--limit", str(WORKER_DIGITS), "--workers", str(workers),
                "--chunk-size", "32",
            ]  # fmt: skip
            build = Path(folder) / "b"
            invert(build, *common)
            times.append(span(build))
    return Measured(
        "two_workers",
        times[0] / times[1],
        f"{times[1]:.1f} s",
        f"one worker {times[0]:.1f} s for {WORKER_DIGITS} digits",
        settings={"digits": WORKER_DIGITS},
    )


def span(build: Path) -> float:
    """Seconds for all chunks, from the times at which the chunks after the second were done."""
    ends = sorted(path.stat().st_mtime for path in (build / ".ledger" / "invert").glob("*.json"))
    return (ends[-1] - ends[1]) * len(ends) / (len(ends) - 2)


def pipeline(*arguments: str) -> dict[str, float]:
    """Run a command in one process; return its summary."""
    command = [sys.executable, "-c", COMMAND, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary: dict[str, float] = json.loads(done.stdout)
    return summary


def bench_render_share() -> Measured:
    """Seconds of the bare forward pass and of PNG encoding, as a share of those of the whole stage `shard`.

    Both in turn, and the fastest round of each: what else the machine does only makes a round slower.
    """
    network = load_generator("color-digits")
    whole, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "b"
        here = ["--build", str(build), "--workers", "0"]
        quick = ["--method", "lpips", "--steps", "1", "--poor", "1000000"]
        pipeline("invert", "--dataset", "color-digits", "--limit", str(RENDERED_DIGITS), *quick, *here)
        pipeline("augment", "--mode", "randmix", "--variants", str(VARIANTS), *here)
        pack = ["shard", "--variants", "randmix", "--base", "none", "--flagged", "--format", "webdataset"]
        count = int(pipeline(*pack, *here)["samples_randmix"])
        w = torch.from_numpy(read_rows(build / "variants" / "randmix.zarr", ["w"], 0, count)["w"])

        def render_and_encode(w: Tensor) -> float:
            began = time.perf_counter()
            with torch.inference_mode():
                for codes in w.split(RENDER_BATCH):
                    for pixels in to_uint8(network.synthesize(codes)):
                        encode_png(pixels)
            return time.perf_counter() - began

        render_and_encode(w[: 4 * RENDER_BATCH])  # to warm up
        for _ in range(RENDER_ROUNDS):
            whole.append(pipeline(*pack, *here, "--fresh")["seconds"])
            bare.append(render_and_encode(w))
    return Measured(
        "render_share",
        min(bare) / min(whole),
        f"{min(whole):.2f} s for the whole stage",
        f"rendering and encoding alone {min(bare):.2f} s for {count:,} images",
        unit="share",
        settings={"images": count, "format": "webdataset", "workers": 0, "rounds": RENDER_ROUNDS},
    )
