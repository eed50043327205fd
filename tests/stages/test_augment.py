"""Variants: what changes, what stays, and on what each one depends."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.attacks.mix import typical
from pipeline.build import open_build
from pipeline.classifiers.vgg5 import TruncatedVGG
from pipeline.composition import Composition, channels_after, render, rows_read
from pipeline.errors import PipelineError
from pipeline.generators import open_generator
from pipeline.generators.layers import replace_layers
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.seeds import normal_rows, seed_of
from pipeline.store import read_rows
from stages.augment.config import AugmentConfig, resolve
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Edit, Sources, draw_partners
from stages.augment.setup import check_mode
from stages.augment.stage import Augment
from tests.conftest import Tiny, differing, run_pipeline, tree_digest


def context(tiny: Tiny, codes: Tensor, pool: list[int], config: AugmentConfig, **given: Any) -> Context:
    network = open_generator(str(tiny.generator)).network
    return Context(
        map=network.map,
        render=lambda w, codes: render(network, w, codes),
        read_codes=lambda rows: None,
        z_dim=network.z_dim,
        fine_layers=(4, 5, 6, 7),
        pool=torch.tensor(pool),
        read_w=lambda rows: codes[rows],
        read_labels=lambda rows: rows % 3,
        read_images=lambda rows: network.synthesize(codes[rows]).clamp(-0.99, 0.99),
        num_classes=3,
        config=resolve(config),
        **given,
    )


def attackable(tiny: Tiny, codes: Tensor, mode: str, slots: int = 4, **changed: Any) -> Context:
    """A context with a random classifier that errs near most images, and two edits."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = TruncatedVGG(3, width=4, feature_dim=8).eval().requires_grad_(False)
    u = torch.eye(16)
    edits = (Edit(2, 4, 7, u[3], 1.5), Edit(5, 6, 7, u[8], 0.5))
    needed = {"classifier": "random"} if MODES[mode].attacks else {}
    config = AugmentConfig(mode=mode, seed=3, **needed, **changed)
    return context(tiny, codes, list(range(6)), config, classify=network, edits=edits, slots=slots)


def sources_of(codes: Tensor, rows: Tensor, keys: list[str]) -> Sources:
    return Sources(codes[rows], rows, keys, rows % 3, torch.arange(len(rows)) % 2)


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(6, 8, 16, generator=torch.Generator().manual_seed(0))


def test_replacing_layers() -> None:
    a, b = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    assert replace_layers(a, b, (1, 3))[0, :, 0].tolist() == [0, 1, 0, 1]


def test_randmix_is_equation_17(tiny: Tiny, codes: Tensor) -> None:
    keys = ["a/0", "a/1", "b/0"]
    everything = context(tiny, codes, [0, 1, 2], AugmentConfig(seed=3))
    made = MODES["randmix"].load()(sources_of(codes, torch.arange(3), keys), everything)
    z = normal_rows((12,), [seed_of(3, "randmix", key) for key in keys])
    mapped = open_generator(str(tiny.generator)).network.map(z)
    assert torch.equal(made.w[:, :4], codes[:3, :4])
    torch.testing.assert_close(made.w[:, 4:], mapped[:, 4:])
    assert made.partner.tolist() == [-1, -1, -1]


def test_mix_takes_a_partner_s_fine_layers_and_never_its_own(tiny: Tiny, codes: Tensor) -> None:
    rows = torch.arange(6).repeat_interleave(20)
    keys = [f"{row}/{i}" for i, row in enumerate(rows.tolist())]
    everything = context(tiny, codes, list(range(6)), AugmentConfig(mode="mix", seed=3))
    made = MODES["mix"].load()(sources_of(codes, rows, keys), everything)
    assert (made.partner != rows).all()
    assert set(made.partner.tolist()) == set(range(6))
    assert torch.equal(made.w[:, :4], codes[rows][:, :4])
    assert torch.equal(made.w[:, 4:], codes[made.partner][:, 4:])


def test_partners_are_drawn_evenly_among_all_others() -> None:
    """As by listing the others for each, but without the list."""
    pool, rows = torch.tensor([2, 3, 5, 7, 11]), torch.tensor([2, 5, 11, 6, 0]).repeat_interleave(200)
    keys = [str(i) for i in range(len(rows))]
    everything = Context(
        map=Tensor.clone, render=lambda w, codes: w, z_dim=1, fine_layers=(), pool=pool, read_w=Tensor.clone,
        read_codes=lambda r: None, read_labels=Tensor.clone, read_images=Tensor.clone, num_classes=2,
        config=AugmentConfig(mode="mix"),
    )  # fmt: skip
    sources = Sources(torch.zeros(len(rows), 1, 1), rows, keys, rows, rows)
    found = draw_partners(sources, everything, "mix partner")
    for row, seed, partner in zip(rows, everything.seeds("mix partner", keys), found, strict=True):
        others = pool[pool != row]
        rng = torch.Generator().manual_seed(seed)
        assert partner == others[torch.randint(len(others), (), generator=rng)]
    alone = draw_partners(sources.at(torch.tensor([0])), replace(everything, pool=torch.tensor([2])), "mix partner")
    assert alone.tolist() == [2]


def several_codes(tiny: Tiny, codes: Tensor, count: int = 2) -> Composition:
    """Codes around each w, composed at layer 3."""
    network, rng = open_generator(str(tiny.generator)).network, torch.Generator().manual_seed(1)
    layer, base = 3, codes[:, : rows_read(network, 3)]
    spread = torch.randn(len(base), count, *base.shape[1:], generator=rng)
    alpha = torch.rand(len(base), count, channels_after(network, layer), generator=rng)
    return Composition(layer, base[:, None] + spread, alpha, base)


@pytest.mark.parametrize(
    ("mode", "composed"),
    [*((mode, False) for mode in MODES), *((mode, True) for mode, entry in MODES.items() if entry.attacks)],
)
def test_a_variant_depends_on_its_key_alone(tiny: Tiny, codes: Tensor, mode: str, composed: bool) -> None:
    keys = [f"k/{i}" for i in range(6)]
    everything = sources_of(codes, torch.arange(6), keys)
    if composed:
        plain = MODES[mode].load()(everything, attackable(tiny, codes, mode))
        everything = replace(everything, composition=several_codes(tiny, codes))
    together = MODES[mode].load()(everything, attackable(tiny, codes, mode))
    crowded = MODES[mode].load()(everything, attackable(tiny, codes, mode, slots=2))
    alone = MODES[mode].load()(everything.at(torch.tensor([4])), attackable(tiny, codes, mode))
    if composed and mode != "adv":  # the codes are part of what is attacked
        assert not torch.equal(together.w, plain.w) or not torch.equal(
            together.columns["restarts"], plain.columns["restarts"]
        )
    for other, place in ((crowded, 4), (alone, 0)):
        assert_same(together.w[4], other.w[place])
        if together.images is not None and other.images is not None:
            assert_same(together.images[4], other.images[place])
        for name, values in together.columns.items():
            torch.testing.assert_close(values[4], other.columns[name][place])


def assert_same(one: Tensor, other: Tensor) -> None:
    """Equal but for coordinates whose gradient is zero to rounding, whose sign anything may turn."""
    differs = (one - other).abs() > 1e-5
    assert differs.float().mean() < 0.01


@pytest.mark.parametrize("mode", sorted(MODES.keys() - {"mix"}))  # two variants may draw the same partner
def test_no_variant_is_its_source_nor_its_sibling(tiny: Tiny, codes: Tensor, mode: str) -> None:
    rows = torch.tensor([1, 1, 1, 1])
    sources = sources_of(codes, rows, [f"k/{i}" for i in range(4)])
    everything = attackable(tiny, codes, mode)
    made = MODES[mode].load()(sources, everything)
    shown = made.w if made.images is None else made.images
    for i in range(4):
        own = sources.w[i] if made.images is None else everything.read_images(rows)[i]
        assert not torch.equal(shown[i], own)
        assert all(not torch.equal(shown[i], shown[j]) for j in range(i))


def test_advmix_stays_near_one_of_the_restarts_it_tells(tiny: Tiny, codes: Tensor) -> None:
    rows, keys = torch.arange(6), [f"k/{i}" for i in range(6)]
    everything = attackable(tiny, codes, "advmix", epsilon=0.2)
    made = MODES["advmix"].load()(sources_of(codes, rows, keys), everything)
    told = made.columns["restarts"].tolist()
    assert len(set(told)) > 1
    assert torch.equal(made.w[:, :4], codes[:, :4])
    for w, key, spent in zip(made.w, keys, told, strict=True):
        z = normal_rows((12,), [seed_of(3, "advmix", key, attempt) for attempt in range(spent)])
        starts = everything.map(typical(z, 0.5))
        assert (w - starts)[:, 4:].abs().amax(dim=(1, 2)).min() <= 0.2 + 1e-6


def test_the_typical_set_is_equation_15() -> None:
    z = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    length = typical(z, 0.1).norm(dim=1)
    assert length.min() >= 4 - 0.1 * 2 - 1e-5
    assert length.max() <= 4 + 0.1 * 2 + 1e-5
    torch.testing.assert_close(typical(z, 100.0), z)


def test_om_adv_and_adv_stay_in_their_balls(tiny: Tiny, codes: Tensor) -> None:
    sources = sources_of(codes, torch.arange(6), [f"k/{i}" for i in range(6)])
    latent = MODES["om-adv"].load()(sources, attackable(tiny, codes, "om-adv", epsilon=0.1))
    assert 0.05 < (latent.w - codes).abs().max() <= 0.1 + 1e-6
    everything = attackable(tiny, codes, "adv", pixel_epsilon=0.05)
    pixel = MODES["adv"].load()(sources, everything)
    assert pixel.images is not None
    change = (pixel.images - everything.read_images(sources.rows)).abs()
    assert 0.04 < change.max() <= 0.05 + 1e-6
    assert pixel.images.abs().max() <= 1
    assert torch.equal(pixel.w, codes)


def test_fgsm_is_one_step_of_the_whole_radius_along_the_sign(tiny: Tiny, codes: Tensor) -> None:
    sources = sources_of(codes, torch.arange(6), [f"k/{i}" for i in range(6)])
    everything = attackable(tiny, codes, "om-adv", epsilon=0.1, attack_steps=1)
    made = MODES["om-adv"].load()(sources, everything)
    w = codes.clone().requires_grad_(True)
    assert everything.classify is not None
    loss = torch.nn.functional.cross_entropy(everything.classify(everything.render(w, None)), sources.labels)
    torch.autograd.backward(loss)
    assert w.grad is not None
    assert_same(made.w, codes + 0.1 * w.grad.sign())


def test_dmat_attacks_pixels_and_codes_by_turns(tiny: Tiny, codes: Tensor) -> None:
    sources = sources_of(codes, torch.arange(6), [f"k/{i}" for i in range(6)])
    everything = attackable(tiny, codes, "dmat")
    made = MODES["dmat"].load()(sources, everything)
    assert made.images is not None
    rendered = everything.render(made.w, None).clamp(-1, 1)
    off = (made.images - rendered).abs().amax(dim=(1, 2, 3))
    moved = (made.w - codes).abs().amax(dim=(1, 2))
    even = sources.numbers == 0
    assert (moved[even] == 0).all()
    assert ((off[even] > 0) & (off[even] <= 8 / 255 + 1e-5)).all()
    assert ((moved[~even] > 0) & (moved[~even] <= 0.02 + 1e-6)).all()
    torch.testing.assert_close(off[~even], torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.columns["epsilon"][even], torch.full((3,), 8 / 255))


def test_mixups_mix_codes_or_pixels_and_labels_alike(tiny: Tiny, codes: Tensor) -> None:
    rows = torch.arange(6).repeat(5)
    sources = sources_of(codes, rows, [f"k/{i}" for i in range(30)])
    for mode in ("mixl", "mixi"):
        everything = attackable(tiny, codes, mode, beta=1.0)
        made = MODES[mode].load()(sources, everything)
        lam = made.columns["lam"]
        assert 0.1 < lam.std() < 0.45
        one_hot = torch.eye(3)
        expected = lam[:, None] * one_hot[rows % 3] + (1 - lam[:, None]) * one_hot[made.partner % 3]
        torch.testing.assert_close(made.columns["soft_label"], expected)
        if made.images is None:
            share = lam[:, None, None]
            torch.testing.assert_close(made.w, share * codes[rows] + (1 - share) * codes[made.partner])
        else:
            share, read = lam[:, None, None, None], everything.read_images
            torch.testing.assert_close(made.images, share * read(rows) + (1 - share) * read(made.partner))


def test_more_variants_keep_the_first_ones(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    first = read_rows(finished_build / "variants" / "randmix.zarr", ["w", "valid"], 0, 80)
    build = tmp_path / "b"
    run_pipeline(*tiny.invert(build))
    few = ["--limit", "40", "--batch-size", "7", "--workers", "0"]
    assert run_pipeline("augment", "--build", build, "--variants", "3", *few).code == 0
    more = read_rows(build / "variants" / "randmix.zarr", ["w", "valid"], 0, 120)
    rows = np.arange(40)[:, None] * 3 + [0, 1]
    keep = first["valid"] == 1
    np.testing.assert_allclose(more["w"][rows.ravel()][keep], first["w"][keep], atol=1e-5)


def test_variants_record_where_they_come_from(finished_build: Path) -> None:
    build = open_build(finished_build)
    samples = build.samples()
    columns = read_rows(build.variants_path("mix"), ["source", "partner", "variant", "label", "valid"], 0, 1400)
    valid = columns["valid"] == 1
    assert valid.sum() == ((samples["split"] == "train") & (samples["status"] == "ok")).sum()
    assert (samples["split"].to_numpy()[columns["source"]] == "train").all()
    np.testing.assert_array_equal(samples["label"].to_numpy()[columns["source"]], columns["label"])
    assert (samples["status"].to_numpy()[columns["partner"][valid]] == "ok").all()
    assert build.variants("mix").attrs["fine_layers"] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--name", "other", "--split", "validation"], "the dataset has test, train"),
        (["--name", "other", "--fine-layers", "6,8"], "give numbers from 0 to 7"),
        (["--name", "other", "--fine-layers", "all"], "give numbers from 0 to 7"),
        (["--name", "a/b"], "'a/b' cannot be a name"),
        (["--variants", "0"], "--variants 0: must be at least 1"),
        (["--seed", "5"], "seed: 0 → 5"),
        (
            ["--restarts", "3"],
            "--mode mix does not read it; leave it out, or use one of the modes that do (advmix 5",
        ),
        (
            ["--mode", "advmix", "--name", "other"],
            "--mode advmix needs --classifier FILE.toml: `pipeline evaluate`",
        ),
        (["--keep", "fooling", "--name", "other"], "--keep fooling needs --classifier"),
        (["--classifier", "none.toml", "--name", "other"], "there is no classifier at"),
        (
            ["--fine-layers", "0,1,2,3,4,5,6,7", "--name", "other"],
            "all layers of generator 'tiny-generator' count as fine",
        ),
        (["--mode", "random", "--fine-layers", "7", "--name", "other"], "--mode random does not read it"),
    ],
)
def test_bad_settings(finished_build: Path, extra: list[str], words: str) -> None:
    done = run_pipeline("augment", "--build", finished_build, "--mode", "mix", *extra, "--workers", "0")
    assert done.code == 2
    assert words in done.err
    assert "augment/other" not in open_build(finished_build).info()["stages"]


@pytest.mark.parametrize(
    "extra", [["--split", "validation"], ["--fine-layers", "9"], ["--classifier", "none.toml"]]
)
def test_nothing_is_deleted_for_a_command_that_is_refused(
    finished_build: Path, copy_of: Callable[[Path], Path], extra: list[str]
) -> None:
    build = copy_of(finished_build)
    before = tree_digest(build / "variants")
    done = run_pipeline("augment", "--build", build, "--mode", "mix", "--fresh", *extra, "--workers", "0")
    assert done.code == 2
    assert differing(tree_digest(build / "variants"), before) == []


@pytest.mark.parametrize("folder", ["v1.0", "a b", "naïve é", "x@y:z", "-dash"])
def test_in_a_folder_of_any_name(finished_build: Path, tmp_path: Path, folder: str) -> None:
    here = tmp_path / folder
    here.mkdir()
    copytree(finished_build, here / "b.1", ignore=ignore_patterns("variants", "shards", "augment", "shard"))
    command = ["augment", "--build", "b.1", "--mode", "randmix", "--variants", "1", "--chunk-size", "1400"]
    done = run_pipeline(*command, "--workers", "0", "--name", "again", "--json", cwd=here)
    assert done.code == 0, done.err
    samples = open_build(finished_build).samples("split", "status")
    assert done.json["valid"] == ((samples["split"] == "train") & (samples["status"] == "ok")).sum() > 30


def test_a_generator_that_wants_labels_cannot_be_given_random_z(finished_build: Path, tiny: Tiny) -> None:
    network = StyleGAN2(32, {4: 8, 8: 8, 16: 6, 32: 4}, z_dim=12, w_dim=10, c_dim=3, mapping_layers=2)
    loaded = replace(open_generator(str(tiny.generator)), network=network)
    build = open_build(finished_build)
    check_mode(AugmentConfig(mode="mix"), build, loaded, (7,))
    for mode in ("randmix", "advmix"):
        with pytest.raises(PipelineError, match=f"--mode {mode}: generator '.*' wants a label with each z"):
            check_mode(AugmentConfig(mode=mode), build, loaded, (7,))


def test_other_fine_layers_in_the_generators_manifest_are_another_set(finished_build: Path, tiny: Tiny) -> None:
    stages = [
        Augment(AugmentConfig(mode="mix", fine_layers=layers), "mix", str(tiny.generator), str(tiny.perceptual))
        for layers in (None, "7")
    ]
    one, other = (stage.settings(open_build(finished_build))["fine_layers"] for stage in stages)
    assert (one, other) == ([4, 5, 6, 7], [7])
