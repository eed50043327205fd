"""A training run that goes on where it was stopped: step, checkpoint at every snapshot."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.errors import PipelineError

Losses = dict[str, float]


class Trainer(Protocol):
    """What is trained. All that is random in a step must come from the seed and `step`."""

    step: int

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What a checkpoint holds of networks."""
        ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """What a checkpoint holds of optimisers."""
        ...

    def train_step(self, images: Tensor) -> Losses:
        """Raise `step` by one update on images uint8 [N, H, W, 3]."""
        ...


def run_steps(
    trainer: Trainer,
    images: Tensor,
    *,
    steps: int,
    snapshot: int,
    checkpoint: Path,
    key: str,
    on_progress: Callable[[int, Losses], None],
) -> None:
    """Train up to `steps`, from the checkpoint if it is there; `key` identifies the settings.

    Raises:
        BuildError: the checkpoint was made with other settings.
    """
    if checkpoint.is_file():
        trainer.step = load_checkpoint(checkpoint, key, trainer.networks, trainer.optimizers)
    while trainer.step < steps:
        losses = trainer.train_step(images)
        on_progress(trainer.step, losses)
        if trainer.step % snapshot == 0 or trainer.step == steps:
            save_checkpoint(checkpoint, key, trainer.step, trainer.networks, trainer.optimizers)


def check_begun_elsewhere(folder: Path, **files: str | None) -> None:
    """Raise PipelineError if what an option names, to begin from, lies where the training itself writes to."""
    for option, file in files.items():
        if file and Path(file).resolve().is_relative_to(folder.resolve()):
            raise PipelineError(f"--{option} {file} lies where this training writes to: name another --build")


def blend(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move the parameters of an average towards a network's by `share`."""
    for mine, value in zip(average.parameters(), network.parameters(), strict=True):
        mine.lerp_(value.detach(), share)
