"""lucidrains' StyleGAN2 (`model_*.pt`): the averaged networks `SE` and `GE` of its state dict, in terms of ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.completing import MEAN_NOTE, with_mean_w
from pipeline.generators.checkpoints.converted import Converted

State = Mapping[str, Tensor]

MAX_BLOCKS = 10  # 2,048 x 2,048
UNTOLD = "the file does not tell the mapping's learning rate (lr_mlp): the usual 0.1 is taken"
NOISE_NOTE = "the file has no noise: it is drawn from seed 0"


def from_averaged(state: State) -> Converted:
    """Convert the averaged networks."""
    return from_lucidrains(state, "SE.", "GE.")


def from_trained(state: State) -> Converted:
    """Convert the networks as they were trained, where there are no averaged ones."""
    return from_lucidrains(state, "S.", "G.")


def from_lucidrains(state: State, mapping: str, synthesis: str) -> Converted:
    """Convert a mapping and a generator under these prefixes; a mean of w and a noise are made up.

    Raises:
        CheckpointError: it is of a kind that is not rendered, or damaged.
    """
    result = {f"S.{key.removeprefix(mapping)}": tensor for key, tensor in state.items() if key.startswith(mapping)}
    result |= {
        f"G.{key.removeprefix(synthesis)}": tensor
        for key, tensor in state.items()
        if key.startswith(synthesis) and not re.search(r"\.to_rgb\.upsample\.\d+\.f$", key)
    }
    refuse_others(result)
    blocks = len({key.split(".")[2] for key in result if key.startswith("G.blocks.")})
    if not 1 <= blocks <= MAX_BLOCKS:
        raise CheckpointError(f"it is damaged: a StyleGAN2 of lucidrains with {blocks} blocks")
    size = 2 << blocks
    result["noise"] = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    w_dim = result["S.net.0.weight"].shape[0]
    complete = with_mean_w("lucidrains", result, "S.w_avg", w_dim)
    return Converted(complete, {}, (UNTOLD, MEAN_NOTE, NOISE_NOTE))


def refuse_others(state: State) -> None:
    """Refuse by name what the family does not render."""
    kind = "it is a StyleGAN2 of lucidrains with"
    if any(key.startswith("G.attns.") for key in state):
        raise CheckpointError(f"{kind} attention (attn_layers), which is not rendered here")
    if "G.to_initial_block.weight" in state:
        raise CheckpointError(f"{kind} an input instead of a constant (no_const), which is not rendered here")
    rgb = state.get("G.blocks.0.to_rgb.conv.weight")
    if rgb is not None and rgb.shape[:1] == (4,):
        raise CheckpointError(f"{kind} transparency (transparent), which is not rendered here")
