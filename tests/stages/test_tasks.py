"""Tasks that are measured, and stages that run short of memory in the middle of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from pipeline import capacity
from pipeline.build import open_build
from pipeline.capacity import Capacity
from pipeline.measure import Rates
from pipeline.store import read_rows
from stages.augment import setup as variants
from stages.invert import fit, losses
from stages.shard import rendering as packing
from tests.conftest import Tiny, differing, run_pipeline, tree_digest


def short_of_memory(render: Any, room: int) -> tuple[Any, list[int]]:
    """A rendering that fails beyond so many images, and the batches that it did not fail for."""
    done: list[int] = []

    def rendered(*arguments: object) -> Tensor:
        (w, *_) = (argument for argument in arguments if isinstance(argument, Tensor))
        if len(w) > room:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        done.append(len(w))
        images: Tensor = render(*arguments)
        return images

    return rendered, done


def test_small_images_make_tasks_of_64(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    asked = ["invert", "--dataset", "color-digits", "--build", build, *tiny.networks, "--steps", "2"]
    assert run_pipeline(*asked, "--limit", "70", "--workers", "0", "--json").json["done"] == 70
    info = open_build(build).info()["stages"]["invert"]
    assert (info["settings"]["chunk_size"], info["chunks"]) == (64, 2)


def test_slow_steps_make_small_tasks_that_a_run_keeps(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def slow(*networks: object) -> Capacity:
        measured.append(1)
        return Capacity(Rates(14.0, 1.0), 64, 2**30, 2**30, "cpu")

    monkeypatch.setattr(capacity, "measured", slow)
    build = tmp_path / "b"
    asked = ["invert", "--dataset", "color-digits", "--build", build, *tiny.networks, "--steps", "2"]
    limited = [*asked, "--limit", "10", "--workers", "0", "--json"]
    assert run_pipeline(*limited).json["computed"] == 10
    assert run_pipeline(*limited).json["computed"] == 0
    assert len(measured) == 1
    info = open_build(build).info()["stages"]["invert"]
    assert (info["settings"]["chunk_size"], info["chunks"]) == (4, 3)  # half a minute each
    refused = run_pipeline(*limited, "--chunk-size", "8")
    assert "chunk_size: 4 → 8" in refused.err
    augment = ["augment", "--build", build, "--variants", "3", "--limit", "9", "--workers", "0", "--json"]
    assert run_pipeline(*augment).json["computed"] == 27
    info = open_build(build).info()["stages"]["augment/randmix"]
    assert (info["settings"]["chunk_size"], info["chunks"]) == (8, 2)  # three variants of three renderings each
    assert len(measured) == 2
    assert run_pipeline("verify", "--build", build).code == 0


def test_inversion_goes_on_with_smaller_batches(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, finished_build: Path
) -> None:
    build = tmp_path / "b"
    searched, of_search = short_of_memory(losses.render_theta, 3)
    compared, of_results = short_of_memory(fit.render, 5)
    monkeypatch.setattr(losses, "render_theta", searched)
    monkeypatch.setattr(fit, "render", compared)
    assert run_pipeline(*tiny.invert(build)).code == 0
    assert 1 < max(of_search) <= 3
    assert 1 < max(of_results) <= 5
    found, whole = (read_rows(b / "latents.zarr", ["psnr"], 0, 48)["psnr"] for b in (build, finished_build))
    # Another batch rounds otherwise, and on a random network a search may then take another way.
    assert np.median(np.abs(found - whole)) < 0.1
    assert abs(found.mean() - whole.mean()) < 0.5


def test_one_image_too_many_is_a_sentence(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "render", short_of_memory(fit.render, 0)[0])
    done = run_pipeline(*tiny.invert(tmp_path / "b"))
    assert done.code == 2
    assert "out of memory with a single 32x32 image at once: one image with its gradient of generator" in done.err
    assert "Traceback" not in done.err


def test_variants_and_shards_go_on_with_smaller_batches(
    tmp_path: Path, finished_build: Path, copy_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = copy_of(finished_build)
    augment = [
        "augment",
        "--build",
        build,
        "--mode",
        "randmix",
        "--variants",
        "2",
        "--chunk-size",
        "200",
        "--fresh",
    ]
    rendered, done = short_of_memory(variants.render, 5)
    monkeypatch.setattr(variants, "render", rendered)
    assert run_pipeline(*augment, "--workers", "0").code == 0
    assert max(done) == 5
    name = ("variants/randmix.zarr/w/**/*",)
    assert differing(tree_digest(build, name), tree_digest(finished_build, name)) == []
    rendered, done = short_of_memory(packing.render, 5)
    monkeypatch.setattr(packing, "render", rendered)
    shard = [
        "shard",
        "--build",
        build,
        "--variants",
        "randmix",
        "--flagged",
        "--name",
        "few",
        "--format",
        "parquet",
    ]
    assert run_pipeline(*shard, "--workers", "0").code == 0
    assert max(done) == 5
    rows = pd.concat(pd.read_parquet(path) for path in (build / "shards/few/parquet").glob("*.parquet"))
    assert rows["kind"].value_counts().to_dict() == {"original": 48, "randmix": 70}
