"""Settings that are left unset: what stands for them, in every stage, and in builds that were begun before."""

from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from pipeline.config import kind_of, stored_settings
from stages.augment.config import AugmentConfig, resolve
from stages.directions.config import DirectionsConfig
from stages.evaluate.config import EvaluateConfig
from stages.invert.config import InvertConfig
from stages.shard.config import ShardConfig
from stages.train_generator.config import TrainGeneratorConfig

CONFIGS = [
    "augment.config:AugmentConfig", "directions.config:DirectionsConfig", "evaluate.config:EvaluateConfig",
    "invert.config:InvertConfig", "om_imagenet.config:OmImageNetConfig", "shard.config:ShardConfig",
    "shift_generator.config:ShiftGeneratorConfig", "train_encoder.config:TrainEncoderConfig",
    "train_generator.config:TrainGeneratorConfig", "train_perceptual.config:TrainPerceptualConfig",
]  # fmt: skip


@pytest.mark.parametrize("place", CONFIGS)
def test_an_empty_text_never_stands_for_unset(place: str) -> None:
    module, _, name = place.partition(":")
    for f in fields(getattr(import_module(f"stages.{module}"), name)):
        assert f.default != ""
        assert kind_of(f.type) in (str, int, float, bool)


@pytest.mark.parametrize(
    ("config", "unset"),
    [
        (ShardConfig(), {"label": ""}),
        (DirectionsConfig(), {"ranges": ""}),
        (EvaluateConfig(), {"test_set": ""}),
        (TrainGeneratorConfig(), {"channels": "", "discriminator_channels": ""}),
        (AugmentConfig(), {"fine_layers": "", "classifier": "", "step_size": 0.0}),
        (InvertConfig().settled(512), {"steps": 100}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_builds_begun_before_hold_the_same_settings(config: Any, unset: dict[str, Any]) -> None:
    stored = stored_settings(config)
    assert {name: stored[name] for name in unset} == unset
    assert None not in stored.values()


def test_a_radius_of_nothing_is_what_it_says() -> None:
    own = resolve(AugmentConfig(mode="om-adv", classifier="c.toml"))
    assert (own.epsilon, own.attack_steps, own.restarts) == (0.02, 5, 1)
    assert resolve(AugmentConfig(mode="om-adv", classifier="c.toml", epsilon=0.0)).epsilon == 0.0
