"""Import of other people's checkpoints, whose code is never run."""

from pipeline.generators.checkpoints.importing import import_checkpoint
from pipeline.generators.checkpoints.recognition import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "import_checkpoint", "read_checkpoint"]
