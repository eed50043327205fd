"""mmgeneration's and mmagic's StyleGAN2, which is rosinality's under other names (`generator_ema.…`)."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.checkpoints.rosinality import from_rosinality

COLOUR_NOTE = (
    "networks that mmgeneration trained itself may give blue for red (BGR), which the file does not say: look at "
    "the picture of samples"
)
NAMES = (
    (r"^style_mapping\.", "style."),
    (r"^constant_input\.", "input."),
    (r"^injected_noise_(\d+)$", r"noises.noise_\1"),
    (r"\.linear\.weight_orig$", ".weight"),
    (r"\.weight_orig$", ".weight"),
    (r"\.style_modulation\.", ".modulation."),
    (r"\.noise_injector\.", ".noise."),
)


def from_mmgeneration(state: Mapping[str, Tensor]) -> Converted:
    """Convert a StyleGAN2 of mmgeneration.

    Raises:
        CheckpointError: a key or a shape is in no such network.
    """
    renamed = {}
    for key, tensor in state.items():
        theirs = key
        for pattern, name in NAMES:
            theirs = re.sub(pattern, name, theirs)
        renamed[theirs] = tensor
    done = from_rosinality(renamed)
    return replace(done, notes=(*done.notes, COLOUR_NOTE))
