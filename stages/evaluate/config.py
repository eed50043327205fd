"""Settings of `pipeline evaluate`: those of the training, and those of each attack."""

from dataclasses import dataclass, fields
from typing import Any

from pipeline.classifiers.architectures import ARCHITECTURES
from pipeline.config import option

# Settings that decide the classifier; a set begun with others is refused. All else decides a measure only.
TRAINING = ("architecture", "width", "input_size", "steps", "train_batch", "learning_rate", "train_split")


@dataclass(frozen=True)
class EvaluateConfig:
    """How the classifiers are trained and attacked. Distances in images are in units of [-1, 1]."""

    architecture: str = option(
        "vgg5", "classifier: " + "; ".join(f"`{n}` {a.help}" for n, a in ARCHITECTURES.items()),
        choices=tuple(ARCHITECTURES),
    )  # fmt: skip
    width: int = option(0, "its channels (wideresnet: their multiple); 0 takes the architecture's own", at_least=0)
    input_size: int = option(
        0, "shrink images to this size first (AdvMix: 64 for CelebA); 0 leaves them", at_least=0
    )
    steps: int = option(500, "training steps, the same for every row", at_least=1)
    train_batch: int = option(64, "images in a training step", at_least=1)
    learning_rate: float = option(1e-3, "of Adam; falls to nothing over the second half", at_least=0)
    train_split: str = option("train", "split that is trained on, variants included")
    test_split: str = option("test", "split that is measured, without its variants")
    test_set: str | None = option(
        None, "shard set that the test images are taken from; if left out, each row's own"
    )
    attack_samples: int = option(128, "test images that are attacked; 0 takes all", at_least=0)
    pgd_epsilon: float = option(0.031373, "pgd: largest change of a pixel (DMAT: 8/255)", at_least=0)
    pgd_step: float = option(0.007843, "pgd: change in one step (DMAT: 2/255)", at_least=0)
    pgd_steps: int = option(50, "pgd: steps (DMAT: 50)", at_least=1)
    om_epsilon: float = option(0.02, "om-pgd: largest change of a coordinate of w+ (DMAT: 0.02)", at_least=0)
    om_step: float = option(0.005, "om-pgd: change in one step (DMAT: 0.005)", at_least=0)
    om_steps: int = option(50, "om-pgd: steps (DMAT: 50)", at_least=1)
    advmix_restarts: int = option(10, "advmix: random fine styles tried (AdvMix: 10)", at_least=1)
    advmix_epsilon: float = option(0.03, "advmix: largest change of a coordinate of w+ (AdvMix: 0.03)", at_least=0)
    advmix_step: float = option(0.0075, "advmix: change in one step", at_least=0)
    advmix_steps: int = option(5, "advmix: steps of a restart", at_least=1)

    def training(self) -> dict[str, Any]:
        """The settings that decide a classifier."""
        return {name: getattr(self, name) for name in TRAINING}

    def of_attack(self, attack: str) -> dict[str, Any]:
        """The settings that decide what an attack does."""
        prefix = attack.removesuffix("-pgd").replace("-", "_") + "_"
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith(prefix)}
        shared = {} if attack == "clean" else {"attack_samples": self.attack_samples}
        return {"test_split": self.test_split, "test_set": self.test_set or "", **shared, **named}
