"""Variants: what changes, what stays, and on what each one depends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.build import open_build
from pipeline.generators import open_generator
from pipeline.seeds import normal_rows, seed_of
from pipeline.store import read_rows
from stages.augment.modes import MODES
from stages.augment.modes.base import Context, Sources, replace_layers
from tests.conftest import Tiny, run_pipeline


def context(tiny: Tiny, codes: Tensor, pool: list[int]) -> Context:
    network = open_generator(str(tiny.generator)).network
    return Context(network.map, network.z_dim, (4, 5, 6, 7), torch.tensor(pool), lambda rows: codes[rows], seed=3)


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(6, 8, 16, generator=torch.Generator().manual_seed(0))


def test_replacing_layers() -> None:
    a, b = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    assert replace_layers(a, b, (1, 3))[0, :, 0].tolist() == [0, 1, 0, 1]


def test_randmix_is_equation_17(tiny: Tiny, codes: Tensor) -> None:
    keys = ["a/0", "a/1", "b/0"]
    made = MODES["randmix"].load()(Sources(codes[:3], torch.arange(3), keys), context(tiny, codes, [0, 1, 2]))
    z = normal_rows((12,), [seed_of(3, "randmix", key) for key in keys])
    mapped = open_generator(str(tiny.generator)).network.map(z)
    assert torch.equal(made.w[:, :4], codes[:3, :4])
    assert torch.equal(made.w[:, 4:], mapped[:, 4:])
    assert made.partner.tolist() == [-1, -1, -1]


def test_mix_takes_a_partner_s_fine_layers_and_never_its_own(tiny: Tiny, codes: Tensor) -> None:
    rows = torch.arange(6).repeat_interleave(20)
    keys = [f"{row}/{i}" for i, row in enumerate(rows.tolist())]
    made = MODES["mix"].load()(Sources(codes[rows], rows, keys), context(tiny, codes, list(range(6))))
    assert (made.partner != rows).all()
    assert set(made.partner.tolist()) == set(range(6))
    assert torch.equal(made.w[:, :4], codes[rows][:, :4])
    assert torch.equal(made.w[:, 4:], codes[made.partner][:, 4:])


@pytest.mark.parametrize("mode", MODES)
def test_a_variant_depends_on_its_key_alone(tiny: Tiny, codes: Tensor, mode: str) -> None:
    keys = [f"k/{i}" for i in range(6)]
    everything = context(tiny, codes, list(range(6)))
    together = MODES[mode].load()(Sources(codes, torch.arange(6), keys), everything)
    alone = MODES[mode].load()(Sources(codes[4:5], torch.tensor([4]), keys[4:5]), everything)
    torch.testing.assert_close(together.w[4], alone.w[0])


def test_more_variants_keep_the_first_ones(tmp_path: Path, tiny: Tiny, finished_build: Path) -> None:
    first = read_rows(finished_build / "variants" / "randmix.zarr", ["w", "valid"], 0, 80)
    build = tmp_path / "b"
    run_pipeline(*tiny.invert(build))
    made = run_pipeline("augment", "--build", build, "--variants", "3", "--batch-size", "7", "--workers", "0")
    assert made.code == 0
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
    ],
)
def test_bad_settings(finished_build: Path, extra: list[str], words: str) -> None:
    done = run_pipeline("augment", "--build", finished_build, "--mode", "mix", *extra, "--workers", "0")
    assert done.code == 2
    assert words in done.err
    assert "augment/other" not in open_build(finished_build).info()["stages"]
