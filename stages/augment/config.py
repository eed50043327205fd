"""Settings of `pipeline augment`."""

from dataclasses import dataclass, fields, replace
from typing import Any

from pipeline.config import option
from pipeline.errors import PipelineError
from stages.augment.modes import MODES, ModeEntry


def readers(name: str) -> str:
    """The modes that read a setting, with their own numbers for it."""
    return ", ".join(
        f"{mode} {entry.defaults[name]:.3g}" if name in entry.defaults else mode
        for mode, entry in MODES.items()
        if name in entry.options
    )


def mode_option(name: str, default: float | str | None, text: str, at_least: float | None = None) -> Any:
    """Declare a setting that only some modes read; the help names them."""
    own = any(name in entry.defaults for entry in MODES.values())
    of = f"if left out, the mode's own: {readers(name)}" if own else f"for {readers(name)}"
    return option(default, f"{text} ({of})", at_least=at_least)


@dataclass(frozen=True)
class AugmentConfig:
    """Which variants to make. What a mode has a number of its own for is None until `resolve` puts that there."""

    mode: str = option("randmix", "how to make them: " + "; ".join(f"`{n}` {m.help}" for n, m in MODES.items()),
                       choices=tuple(MODES))  # fmt: skip
    variants: int = option(4, "variants of each sample", at_least=1)
    split: str = option("train", "split whose samples get variants")
    fine_layers: str | None = mode_option(
        "fine_layers", None, "0-based layers to replace, as 6,7; if left out, the generator's"
    )
    include_poor: bool = option(False, "also from samples whose inversion was marked `poor`")
    chunk_size: int = option(
        0, "samples in a task; 0 measures how many are two minutes of work, at most 64 of them", at_least=0
    )
    seed: int = option(0, "seed of everything random", at_least=0)
    classifier: str | None = option(
        None,
        "the classifier that is attacked, and by which `fooled` is told in any mode: a manifest (.toml), "
        "module:factory@weights, timm:name@weights or trusted:program.pt2",
    )
    keep: str = option(
        "all",
        "which variants count: all, or those that fool --classifier (NaTra, eq. 7)",
        choices=("all", "fooling"),
    )
    restarts: int = mode_option("restarts", None, "random restarts of an attack", at_least=1)
    attack_steps: int = mode_option("attack_steps", None, "ascent steps of a restart", at_least=1)
    epsilon: float = mode_option("epsilon", None, "l-infinity radius in the code", at_least=0)
    pixel_epsilon: float = mode_option(
        "pixel_epsilon", None, "l-infinity radius in pixels that span [-1, 1]", at_least=0
    )
    step_size: float | None = mode_option(
        "step_size",
        None,
        "length of a step, in the radius' unit; if left out, a quarter of the radius, or what reaches it in fewer "
        "steps",
        at_least=1e-6,
    )
    typical: float = mode_option("typical", 0.5, "delta of the typical set of z (AdvMix, eq. 15)", at_least=0)
    directions: str = mode_option("directions", "umap", "name of the directions, from `pipeline directions`")
    combine: int = mode_option("combine", 0, "edits that a variant combines at random; 0 is all", at_least=0)
    rho: float = mode_option("rho", 0.5, "what epsilon grows by, in deviations of w", at_least=0.01)
    most_epsilon: float = mode_option(
        "most_epsilon", 2.0, "longest edit, in deviations of w along the direction", at_least=0.01
    )
    smoothing: float = mode_option(
        "smoothing", 0.1, "c of adaptive label smoothing, alpha = c epsilon; 0 keeps labels hard", at_least=0
    )
    beta: float = mode_option("beta", 0.2, "alpha of lambda ~ Beta(alpha, alpha)", at_least=0.001)
    noise_scale: float = mode_option("noise_scale", 1.0, "standard deviation of the noise on w", at_least=0)


SHARED = ("mode", "variants", "split", "include_poor", "chunk_size", "seed", "classifier", "keep")


def resolve(config: AugmentConfig) -> AugmentConfig:
    """Put the mode's own numbers where a setting is unset.

    Raises:
        PipelineError: a setting was given that the mode does not read, or a classifier is missing.
    """
    entry = MODES[config.mode]
    for f in fields(config):
        value = getattr(config, f.name)
        if f.name not in (*SHARED, *entry.options) and value != f.default:
            raise PipelineError(
                f"--{f.name.replace('_', '-')} {value}: --mode {config.mode} does not read it; leave it out, "
                f"or use one of the modes that do ({readers(f.name)})"
            )
    if config.classifier is None and (entry.attacks or config.keep == "fooling"):
        what = f"--mode {config.mode}" if entry.attacks else f"--keep {config.keep}"
        raise PipelineError(
            f"{what} needs --classifier FILE.toml: `pipeline evaluate` trains one on a shard set and writes it to "
            f"BUILD/evaluate/classifiers"
        )
    own: dict[str, Any] = {name: number for name, number in entry.defaults.items() if getattr(config, name) is None}
    return replace(config, **own)


def makes_soft_labels(config: AugmentConfig, entry: ModeEntry) -> bool:
    """Whether the set has soft labels."""
    return entry.soft_labels and ("smoothing" not in entry.options or config.smoothing > 0)
