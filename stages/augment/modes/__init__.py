"""The modes of `pipeline augment`, by name. They load when first used, so that listing them costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.augment.modes.base import Mode


@dataclass(frozen=True)
class ModeEntry:
    """Where a mode is and what it does.

    Attributes:
        options: settings of AugmentConfig that it reads, besides those that all modes share.
        defaults: its own numbers where such a setting is unset.
        attacks: it attacks a classifier, so it needs one.
        partners: it mixes with other samples, so it depends on all of them.
        draws_z: it maps random z to w, without labels.
        single_code: it is not for samples of several codes (LCE).
        originals: it reads the samples' own pixels.
        pixels: its images are stored, for no w+ renders them.
        soft_labels: it makes soft labels (not where `smoothing` is one of its options, and 0).
        unit: what its `epsilon` is measured in.
    """

    target: str
    help: str
    options: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    attacks: bool = False
    partners: bool = False
    draws_z: bool = False
    single_code: bool = False
    originals: bool = False
    pixels: bool = False
    soft_labels: bool = False
    unit: str = ""

    def load(self) -> "Mode":
        """Import the mode and make it."""
        module, _, name = self.target.partition(":")
        mode: Mode = getattr(import_module(module), name)()
        return mode


FINE = ("fine_layers",)
ATTACK = ("restarts", "attack_steps")
NATRA = (*ATTACK, "step_size", "most_epsilon", "smoothing", "directions", "combine")
APT = {"restarts": 2, "attack_steps": 2}

MODES = {
    "randmix": ModeEntry(
        "stages.augment.modes.randmix:RandMix",
        "takes the fine layers from a random z (AdvMix, eq. 17)",
        FINE,
        draws_z=True,
    ),
    "mix": ModeEntry(
        "stages.augment.modes.mix:Mix", "takes them from another sample (AdvMix, eq. 11)", FINE, partners=True
    ),
    "advmix": ModeEntry(
        "stages.augment.modes.advmix:AdvMix",
        "takes those of a random z that are worst for --classifier (AdvMix, Algorithm 2)",
        (*FINE, *ATTACK, "epsilon", "step_size", "typical"),
        {"restarts": 5, "attack_steps": 5, "epsilon": 0.03},
        attacks=True,
        draws_z=True,
        unit="w",
    ),
    "natra": ModeEntry(
        "stages.augment.modes.natra:NaTra",
        "edits along label-irrelevant directions, as little as fools --classifier (NaTra, eq. 7 and 13)",
        (*NATRA, "rho"),
        APT,
        attacks=True,
        soft_labels=True,
        unit="deviations",
    ),
    "natra-ol": ModeEntry(
        "stages.augment.modes.natra:NaTra",
        "is natra on samples of a single code (NaTra-OL)",
        (*NATRA, "rho"),
        APT,
        attacks=True,
        single_code=True,
        soft_labels=True,
        unit="deviations",
    ),
    "natra-oa": ModeEntry(
        "stages.augment.modes.natra:NaTraOA",
        "is natra around a random edit, with one epsilon for all (NaTra-OA)",
        (*NATRA, "epsilon"),
        {"restarts": 5, "attack_steps": 2, "epsilon": 0.03},
        attacks=True,
        soft_labels=True,
        unit="deviations",
    ),
    "random": ModeEntry(
        "stages.augment.modes.random:Random", "adds noise to the code (NaTra's baseline)", ("noise_scale",)
    ),
    "mixl": ModeEntry(
        "stages.augment.modes.mixl:MixL",
        "is mixup of two codes (NaTra's baseline)",
        ("beta",),
        partners=True,
        single_code=True,
        soft_labels=True,
    ),
    "mixi": ModeEntry(
        "stages.augment.modes.mixi:MixI",
        "is mixup of two images",
        ("beta",),
        partners=True,
        originals=True,
        pixels=True,
        soft_labels=True,
    ),
    "adv": ModeEntry(
        "stages.augment.modes.adv:Adv",
        "attacks --classifier in the pixels (PGD; FGSM with --attack-steps 1)",
        (*ATTACK, "pixel_epsilon", "step_size"),
        {"restarts": 1, "attack_steps": 5, "pixel_epsilon": 8 / 255},
        attacks=True,
        originals=True,
        pixels=True,
        unit="pixels in [-1, 1]",
    ),
    "om-adv": ModeEntry(
        "stages.augment.modes.om_adv:OmAdv",
        "attacks it in w+ (OM-PGD; OM-FGSM with --attack-steps 1)",
        (*ATTACK, "epsilon", "step_size"),
        {"restarts": 1, "attack_steps": 5, "epsilon": 0.02},
        attacks=True,
        unit="w",
    ),
    "dmat": ModeEntry(
        "stages.augment.modes.dmat:Dmat",
        "is half adv on the rendering, half om-adv (OM-ImageNet's dual manifold)",
        (*ATTACK, "epsilon", "pixel_epsilon"),
        {"restarts": 1, "attack_steps": 5, "epsilon": 0.02, "pixel_epsilon": 8 / 255},
        attacks=True,
        pixels=True,
        unit="pixels in [-1, 1] for even variants, w for odd ones",
    ),
}
