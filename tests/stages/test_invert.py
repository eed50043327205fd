"""Inversion: the losses are the papers', a bad sample harms no other."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.build import Build, open_build
from pipeline.composition import render
from pipeline.generators import open_generator
from pipeline.images import to_float, to_uint8
from pipeline.latents import read_composition
from pipeline.ledger import details_of
from pipeline.perceptual import load_perceptual
from pipeline.seeds import normal_rows, seed_of
from pipeline.stage import Chunk, ChunkResult
from pipeline.store import read_rows
from stages.invert.config import InvertConfig
from stages.invert.fit import is_poor, mean_w
from stages.invert.latents import ExtendedW
from stages.invert.losses import Algorithm1, Projection
from stages.invert.stage import Invert
from tests.conftest import Tiny, differing, run_pipeline, tree_digest, write_manifest


def projection(tiny: Tiny, config: InvertConfig, kind: type[Projection]) -> tuple[Projection, Tensor, Tensor]:
    """A projection of three random images that sit in slots, the images, and codes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    generator, net = open_generator(str(tiny.generator)), load_perceptual(str(tiny.perceptual))
    w = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0))
    problem = kind(config, generator, net, pixels, ["a", "b", "c"], ExtendedW(8), torch.zeros(3, 8, 16))
    problem.resize(3)
    problem.enter(torch.arange(3), torch.arange(3))
    return problem, to_float(pixels), w


def test_projection_loss_is_lpips_plus_l1(tiny: Tiny) -> None:
    config = InvertConfig(pixel_weight=3.0, feature_weight=0.5, smoothing=1e-6)
    problem, images, w = projection(tiny, config, Projection)
    rendered = problem.generator.network.synthesize(w)
    net = problem.perceptual
    expected = 3.0 * (rendered - images).abs().mean(dim=(1, 2, 3)) + 0.5 * net.distance(
        rendered, net.target(images)
    )
    torch.testing.assert_close(problem.loss(w, torch.zeros(3)), expected)


def test_algorithm1_loss_is_lines_3_to_8(tiny: Tiny) -> None:
    config = InvertConfig(method="algorithm1", pixel_weight=1.0, feature_weight=1.0, mixing_weight=0.2, steps=5)
    problem, images, w = projection(tiny, config, Algorithm1)
    steps = torch.tensor([3, 0, 4])
    network, net = problem.generator.network, problem.perceptual
    expected = []
    for i, name in enumerate("abc"):
        x, code = images[i : i + 1], w[i : i + 1]
        z = normal_rows((5, 12), [seed_of(0, "algorithm1", name)])[:, steps[i]]
        mixed = torch.cat([code[:, :4], network.map(z)[:, 4:]], dim=1)
        x_hat, x_mix = network.synthesize(code), network.synthesize(mixed)
        total = (x_hat - x).square().mean()
        for a, a_hat, a_mix in zip(net.activations(x), net.activations(x_hat), net.activations(x_mix), strict=True):
            total = total + (a_hat - a).square().mean() + 0.2 * (a_mix - a).square().mean()
        expected.append(total)
    torch.testing.assert_close(problem.loss(w, steps), torch.stack(expected))


def test_the_gradient_of_algorithm1_reaches_only_coarse_layers_through_the_mix(tiny: Tiny) -> None:
    config = InvertConfig(method="algorithm1", pixel_weight=0, feature_weight=0, mixing_weight=1.0, steps=1)
    problem, _, w = projection(tiny, config, Algorithm1)
    w.requires_grad_(True)
    (gradient,) = torch.autograd.grad(problem.loss(w, torch.zeros(3, dtype=torch.int64)).sum(), w)
    assert (gradient[:, 4:] == 0).all()
    assert (gradient[:, :4] != 0).any()


def test_slots_that_are_kept_keep_their_targets(tiny: Tiny) -> None:
    problem, _, w = projection(tiny, InvertConfig(), Projection)
    before = problem.loss(w, torch.zeros(3))
    problem.keep(torch.tensor([2, 0]))
    torch.testing.assert_close(problem.loss(w[[2, 0]], torch.zeros(2)), before[[2, 0]])


def test_mean_w_is_the_mean_of_mapped_latents(tiny: Tiny) -> None:
    generator = open_generator(str(tiny.generator))
    z = torch.randn(40_000, 12, generator=torch.Generator().manual_seed(5))
    expected = generator.network.map(z)[:, 0].mean(dim=0)
    torch.testing.assert_close(mean_w(generator, 0)[0], expected.expand(8, -1), atol=0.02, rtol=0)


@pytest.mark.parametrize("method", ["lpips", "algorithm1"])
def test_more_steps_come_closer(tmp_path: Path, tiny: Tiny, method: str) -> None:
    errors = []
    for steps in (1, 15):
        build = tmp_path / str(steps)
        run_pipeline(*tiny.invert(build, "--method", method, limit=16, steps=steps))
        errors.append(read_rows(build / "latents.zarr", ["l1"], 0, 16)["l1"].mean())
    assert errors[1] < 0.8 * errors[0]


def test_samples_that_diverge_are_recorded(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    summary = run_pipeline(
        *tiny.invert(build, "--method", "algorithm1", "--learning-rate", "1e30", "--json", limit=16)
    ).json
    assert (summary["done"], summary["failed"]) == (16, 16)
    samples = open_build(build).samples()
    assert set(samples["error"][:16]) == {"the optimisation diverged (not a finite number)"}
    assert set(samples["status"]) == {"failed", "pending"}
    assert np.isnan(read_rows(build / "latents.zarr", ["w"], 0, 16)["w"]).all()
    assert run_pipeline("verify", "--build", build).code == 0
    assert "no sample of" in run_pipeline("report", "--build", build).err
    few = ["--limit", "16", "--workers", "0", "--json"]
    assert run_pipeline("augment", "--build", build, *few).json["valid"] == 0
    refused = run_pipeline("shard", "--build", build, "--workers", "0")
    assert refused.code == 2
    assert "nothing to put into shards" in refused.err


def test_images_are_stored_where_asked(tmp_path: Path, tiny: Tiny) -> None:
    run_pipeline(*tiny.invert(tmp_path / "b", "--store-images", limit=16))
    rows = read_rows(tmp_path / "b" / "latents.zarr", ["original", "image", "w", "l1"], 0, 16)
    build = open_build(tmp_path / "b")
    np.testing.assert_array_equal(rows["original"][3], build.reader.load("3").pixels)
    network = open_generator(str(tiny.generator)).network
    rendered = network.synthesize(torch.from_numpy(rows["w"])).clamp(-1, 1)
    assert np.abs((rendered.permute(0, 2, 3, 1).numpy() + 1) * 127.5 - rows["image"]).max() < 1


def test_bad_images_among_good_ones(tmp_path: Path, tiny: Tiny) -> None:
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "1.png").write_bytes(b"")
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_bytes(b"this is text")
    manifest = write_manifest(tmp_path / "m.toml", name="m", format="folder", resolution=32, root="images")
    build = tmp_path / "b"
    invert = ["invert", "--dataset", manifest, "--build", build, *tiny.networks, "--steps", "2", "--workers", "0"]
    summary = run_pipeline(*invert, "--json").json
    assert (summary["done"], summary["failed"]) == (6, 3)
    samples = pd.read_parquet(build / "samples.parquet")
    assert samples["status"].tolist() == ["ok", "failed", "failed", "ok", "failed", "ok"]
    assert samples["error"][1] == "the file is empty"
    assert "damaged" in samples["error"][2]
    assert "not an image" in samples["error"][4]
    assert samples["sha256"].str.len().tolist() == [64, 0, 0, 64, 0, 64]
    w = read_rows(build / "latents.zarr", ["w"], 0, 6)["w"]
    assert np.isfinite(w).all(axis=(1, 2)).tolist() == [True, False, False, True, False, True]
    run_pipeline("augment", "--build", build, "--variants", "2", "--workers", "0")
    shard = run_pipeline("shard", "--build", build, "--workers", "0", "--json").json
    assert (shard["samples_original"], shard["samples_randmix"]) == (3, 6)
    report = run_pipeline("report", "--build", build)
    assert report.code == 0
    assert "the file is empty" in (build / "report" / "index.html").read_text()
    status = run_pipeline("status", "--build", build)
    assert "failed: train-cat-1: the file is empty" in status.out


def test_what_is_poor_is_far_beyond_the_others() -> None:
    distances = np.exp(np.random.default_rng(0).normal(-5, 0.5, 200)).astype(np.float32)
    distances[[3, 70]] = 0.5
    assert np.flatnonzero(is_poor(distances, 7.0)).tolist() == [3, 70]
    assert not is_poor(distances[:8], 6.0).any()  # too few to tell
    assert not is_poor(np.full(100, np.nan, np.float32), 6.0).any()


def test_an_image_far_off_the_manifold_is_marked_and_kept_out_of_variants(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    generator = open_generator("color-digits").network
    z = torch.randn(19, generator.z_dim, generator=torch.Generator().manual_seed(0))
    on_manifold = to_uint8(generator.synthesize(generator.map(z)))
    noise = np.random.default_rng(0).integers(0, 2, (1, 32, 32, 3)).astype(np.uint8) * 255
    for i, image in enumerate(np.concatenate([on_manifold, noise])):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    manifest = write_manifest(tmp_path / "m.toml", name="m", format="folder", resolution=32, root="images")
    build = tmp_path / "b"
    networks = ["--generator", "color-digits", "--perceptual", "color-digits"]
    invert = ["invert", "--dataset", manifest, "--build", build, *networks, "--steps", "30", "--workers", "0"]
    summary = run_pipeline(*invert, "--json").json
    assert (summary["poor"], summary["retried"]) == (1, 1)
    samples = open_build(build).samples()
    assert samples["status"].tolist() == ["ok"] * 19 + ["poor"]
    made = run_pipeline("augment", "--build", build, "--variants", "1", "--workers", "0", "--json").json
    assert made["valid"] == 19
    asked = ["--include-poor", "--name", "all"]
    made = run_pipeline("augment", "--build", build, "--variants", "1", "--workers", "0", *asked, "--json").json
    assert made["valid"] == 20


def test_a_second_look_does_not_depend_on_chunks_or_stops(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--poor", "0.5", "--json")

    def retried(build: Path) -> dict[str, float]:
        details = details_of(open_build(build), "invert")
        return {row: distance for each in details for row, distance in each["first_lpips"].items()}

    whole = tmp_path / "whole"
    summary = run_pipeline(*tiny.invert(whole, *few, limit=24)).json
    assert 0 < summary["retried"] < 24
    assert (read_rows(whole / "latents.zarr", ["steps"], 0, 24)["steps"] > 4).any()
    small = tmp_path / "small"
    run_pipeline(*tiny.invert(small, *few, "--chunk-size", "4", limit=24))
    chosen = retried(small)
    first = read_rows(small / "latents.zarr", ["lpips"], 0, 24)["lpips"]
    first[[int(row) for row in chosen]] = list(chosen.values())
    poor = is_poor(first, 0.5)  # among all, not among the four of a chunk
    assert sorted(map(int, chosen)) == np.flatnonzero(poor).tolist()
    assert len(chosen) > 2

    stopped, revise, done = tmp_path / "stopped", Invert.revise, []

    def stop(self: Invert, build: Build, chunk: Chunk, rows: Sequence[int]) -> ChunkResult:
        if done:
            raise KeyboardInterrupt
        done.append(chunk.index)
        return revise(self, build, chunk, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Invert, "revise", stop)
        assert run_pipeline(*tiny.invert(stopped, *few, limit=24)).code == 130
    assert run_pipeline("status", "--build", stopped, "--json").json["stages"][0]["state"] != "finished"
    went_on = run_pipeline(*tiny.invert(stopped, *few, limit=24)).json
    assert (went_on["retried"], went_on["computed"]) == (summary["retried"], 0)
    assert differing(tree_digest(stopped, ("latents.zarr/**/*",)), tree_digest(whole, ("latents.zarr/**/*",))) == []
    assert run_pipeline(*tiny.invert(stopped, *few, limit=24)).json["retried"] == summary["retried"]
    assert run_pipeline("verify", "--build", stopped).code == 0


@pytest.mark.parametrize("space", ["w", "w+"])
def test_several_codes_come_closer_and_are_stored(tmp_path: Path, tiny: Tiny, space: str) -> None:
    errors = {}
    for codes in (1, 3):
        build = tmp_path / str(codes)
        extra = ["--space", space, "--codes", str(codes), "--method", "lpips", "--store-images"]
        assert run_pipeline(*tiny.invert(build, *extra, limit=16, steps=15)).code == 0
        errors[codes] = read_rows(build / "latents.zarr", ["l1"], 0, 16)["l1"].mean()
    assert errors[3] < 0.95 * errors[1]
    build = open_build(tmp_path / "3")
    rows = read_rows(build.latents_path, ["w", "codes", "alpha", "image"], 0, 16)
    assert rows["codes"].shape[1:] == (3, 4, 16)  # composed after layer 3 of 0 to 6
    network, w = open_generator(str(tiny.generator)).network, torch.from_numpy(rows["w"])
    images = render(network, w, read_composition(build, np.arange(16)))
    assert np.abs((images.clamp(-1, 1).permute(0, 2, 3, 1).numpy() + 1) * 127.5 - rows["image"]).max() < 1
    if space == "w":
        assert (rows["w"] == rows["w"][:, :1]).all()
    # Later stages render all codes, and what cannot says so.
    refused = run_pipeline("augment", "--mode", "mixl", "--build", build.root, "--workers", "0")
    assert refused.code == 2
    assert "--mode mixl is for samples of a single code" in refused.err
    few = ["--limit", "12", "--workers", "0"]
    assert run_pipeline("augment", "--mode", "randmix", "--build", build.root, *few).code == 0
    shard = ["shard", "--variants", "randmix", "--base", "reconstruction", "--flagged", "--format", "parquet"]
    assert run_pipeline(*shard, "--workers", "0", "--build", build.root).code == 0
    (made,) = build.root.glob("shards/*/parquet")
    table = pd.concat(pd.read_parquet(path) for path in made.glob("*.parquet")).set_index("id")
    pixels = {name: np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for name, cell in table["image"].items()}
    ids = build.samples()["id"]
    for row in (0, 7):
        assert np.abs(pixels[ids[row]].astype(int) - rows["image"][row]).max() <= 1
    variants = read_rows(build.variants_path("randmix"), ["w", "source"], 0, 4)
    codes = read_composition(build, variants["source"])
    expected = to_uint8(render(network, torch.from_numpy(variants["w"]), codes))
    attacks = ["evaluate", "--shards", made.parent.name, "--attacks", "om-pgd", "--build", build.root]
    refused = run_pipeline(*attacks, "--workers", "0")
    assert refused.code == 2
    assert "the samples of this build have several codes, which shards do not carry" in refused.err
    found = run_pipeline("directions", "--build", build.root, *tiny.networks, "--method", "pca", "--samples", "60",
                         "--components", "1", "--ranges", "0-7", "--json")  # fmt: skip
    assert found.code == 0, found.err
    strip = np.asarray(Image.open(next(Path(found.json["folder"]).glob("u00_0-7.png"))))
    chosen = np.flatnonzero((build.samples()["split"] == "train") & (build.samples()["status"] == "ok"))[:1]
    unedited = strip[:64, 3 * 66 : 3 * 66 + 64][::2, ::2].astype(int)  # the first sample, in the middle
    assert np.abs(unedited - rows["image"][chosen[0]]).max() <= 1
    names = [f"{ids[source]}-randmix-{k}" for k, source in enumerate(variants["source"])]
    for name, image in zip(names, expected, strict=True):
        assert np.abs(pixels[name].astype(int) - image).max() <= 1


def test_a_layer_that_nothing_can_be_composed_at(tmp_path: Path, tiny: Tiny) -> None:
    refused = run_pipeline(*tiny.invert(tmp_path / "b", "--codes", "2", "--compose-at", "7"))
    assert refused.code == 2
    assert "--compose-at 7: layer 7: this generator can stop after layers 0 to 6" in refused.err
