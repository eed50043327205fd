"""Dry runs: what invert, augment and shard would take; nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.invert.preconditioner import PROBES
from tests.conftest import Tiny, run_pipeline, tree_digest

LATENT = 8 * 16 * 4


def test_invert_tells_what_it_takes_and_writes_nothing(
    tmp_path: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path_factory.mktemp("nothing-measured-yet")))
    asked = ["invert", "--dataset", "color-digits", *tiny.networks, "--limit", "100", "--dry-run", "--store-images"]
    done = run_pipeline(*asked, "--steps", "30", "--workers", "2", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    (stage,) = plan["stages"]
    assert plan["device"] == "cpu"
    assert (stage["stage"], stage["samples"], stage["tasks"], stage["steps"]) == ("invert", 100, 2, 3000 + PROBES)
    assert stage["bytes"] == 100 * (LATENT + 24 + 2 * 32 * 32 * 3)
    assert stage["workers"] == 2
    assert 0 < stage["elapsed"] < stage["hours"]
    assert stage["memory"] > 600 * 2**20
    shown = run_pipeline(*asked, cwd=tmp_path).out
    assert "core-hours" in shown
    assert "Nothing was written" in shown
    assert list(tmp_path.iterdir()) == []


def test_invert_tells_what_is_left(finished_build: Path, copy_of: Callable[[Path], Path], tiny: Tiny) -> None:
    build = copy_of(finished_build)
    (build / ".ledger" / "invert" / "000001.json").unlink()
    before = tree_digest(build)
    plan = run_pipeline(*tiny.invert(build, "--dry-run", "--json", limit=64)).json
    assert (plan["stages"][0]["samples"], plan["stages"][0]["tasks"]) == (32, 2)  # one is lost, one is new
    refused = run_pipeline(*tiny.invert(build, "--dry-run", steps=5))
    assert refused.code == 2
    assert "steps: 4 → 5" in refused.err
    anew = run_pipeline(*tiny.invert(build, "--dry-run", "--fresh", "--json", steps=5)).json
    assert anew["stages"][0]["samples"] == 48
    assert tree_digest(build) == before


@pytest.mark.parametrize(
    ("arguments", "stage", "samples", "tasks"),
    [
        (["augment", "--mode", "randmix", "--variants", "2"], "augment", 0, 0),  # it is all there
        (["augment", "--mode", "randmix", "--variants", "2", "--name", "other"], "augment", 2800, 22),
        (["augment", "--mode", "mixi", "--variants", "2"], "augment", 2800, 22),
        (["shard", "--variants", "randmix,mix", "--samples-per-shard", "40", "--flagged"], "shard", 0, 0),
        (["shard", "--variants", "mix", "--samples-per-shard", "10", "--flagged"], "shard", 83, 11),
        (["shard", "--variants", "none", "--base", "reconstruction", "--originals"], "shard", 48, 8),
    ],
)
def test_later_stages_tell_what_they_take(
    finished_build: Path, arguments: list[str], stage: str, samples: int, tasks: int
) -> None:
    before = tree_digest(finished_build)
    done = run_pipeline(*arguments, "--build", finished_build, "--workers", "0", "--dry-run", "--json")
    assert done.code == 0, done.err
    (plan,) = json.loads(done.out)["stages"]
    assert (plan["stage"], plan["samples"], plan["tasks"]) == (stage, samples, tasks)
    assert (plan["hours"] > 0) == (samples > 0)
    assert (plan["bytes"] > samples * LATENT) == (samples > 0)
    assert tree_digest(finished_build) == before


def test_attacks_are_reckoned_at_their_longest(finished_build: Path) -> None:
    from stages.augment.config import AugmentConfig, resolve
    from stages.augment.estimate import work_of

    advmix = resolve(AugmentConfig(mode="advmix", classifier="c.toml", variants=3))
    assert work_of(advmix).steps == 3 * 5 * (5 + 1)
    natra = resolve(AugmentConfig(mode="natra", classifier="c.toml", variants=1))
    assert work_of(natra).steps == 4 * 2 * (2 + 1)  # four radii of rho up to the truncation
    assert work_of(AugmentConfig(mode="randmix")).steps == 0
