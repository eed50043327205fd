"""Damages to every kind of file of a whole build: named, not consumed in silence, mended to the same bytes."""

from pathlib import Path

import pytest

from tests.conftest import Tiny, run_pipeline
from tests.faults.campaign import Campaign
from tests.faults.damaging import HOW, kind_of


@pytest.fixture(scope="module")
def campaign(tiny: Tiny, few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tiny, few_digits, tmp_path_factory.mktemp("damaged"))


def test_the_whole_build_is_whole_and_its_commands_change_nothing(campaign: Campaign) -> None:
    assert campaign.verify().json["problems"] == []
    assert {path.name for path in campaign.build.iterdir()} == {
        ".cache", ".ledger", ".lock", "build.toml", "directions", "directions.zarr", "encoder", "evaluate",
        "generator", "latents.zarr", "perceptual", "report", "samples.parquet", "shards", "shifted", "skipped.csv",
        "variants",
    }  # fmt: skip
    for name in ("directions/pca", "evaluate", "generator", "report"):
        assert run_pipeline(*campaign.every[name]).code == 0
    assert campaign.verify().json["problems"] == []
    assert [name for name in campaign.twin.differing() if "build.toml" not in name] == []
    campaign.twin.put_right()


def test_damages_are_of_every_kind(campaign: Campaign) -> None:
    made = campaign.sample(600, 3)
    assert {damage.how for damage in made} == set(HOW)
    assert {kind_of(damage.file) for damage in made} == {kind_of(name) for name in campaign.twin.files()}


@pytest.mark.parametrize("number", range(6))
def test_a_damage_is_named_consumed_by_nothing_and_mended(campaign: Campaign, number: int) -> None:
    for damage in campaign.sample(24, 0)[number::6]:
        campaign.try_one(damage)


@pytest.mark.slow
def test_two_thousand_damages(campaign: Campaign) -> None:
    for damage in campaign.sample(2000, 1):
        campaign.try_one(damage)
