"""BigGAN-PyTorch (ajbrock): its BigGAN without shared embeddings (CIFAR) and its BigGAN-deep, in terms of ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.biggan_deep import BATCH_NORM_EPS
from pipeline.generators.biggan_norms import BATCH_NORM_EPS as THEIR_EPS
from pipeline.generators.biggan_norms import SYNCHRONISED_NOTE, is_synchronised, plain_norms
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.layers import fold_spectral_norm, numbers

State = Mapping[str, Tensor]


def norm_notes(state: State) -> tuple[str, ...]:
    """Say so where the norms are of a kind that two readings of their code differ in."""
    return (SYNCHRONISED_NOTE,) if is_synchronised(state) else ()


def from_shared(state: State) -> Converted:
    """Leave a BigGAN with shared embeddings as it is."""
    return Converted(dict(state), notes=norm_notes(state))


def from_unshared(state: State) -> Converted:
    """Convert a BigGAN whose batch norms look up gain and bias by class, in tables [classes, C].

    A shared embedding of one-hot vectors and linear layers [C, classes] are the same.
    """
    result = dict(state)
    for key in [key for key in state if re.fullmatch(r"blocks\.\d+\.0\.bn[12]\.(gain|bias)\.weight", key)]:
        result[key] = matrix(state, key).T
    classes = matrix(result, "blocks.0.0.bn1.gain.weight").shape[1]
    return Converted(result | {"shared.weight": torch.eye(classes)}, notes=norm_notes(state))


def from_deep(state: State) -> Converted:
    """Convert a BigGAN-deep to the keys of pytorch-pretrained-BigGAN, whose arithmetic it shares but for its order.

    The class embedding comes before z rather than after it, and the linear layer gives [C, 4, 4] rather than
    [4, 4, C]. What is added to variances is another, which is put into the variances.
    """
    folded = plain_norms(fold_spectral_norm(state))
    blocks = numbers(r"blocks\.(\d+)\.0\.", folded)
    check_depth(folded, blocks)
    embed = matrix(folded, "shared.weight")
    size = embed.shape[1]
    linear = matrix(folded, "linear.weight")
    result: dict[str, Tensor] = {
        "embeddings.weight": embed.T,
        "generator.gen_z.weight": by_pixel(z_first(linear, size)),
        "generator.gen_z.bias": by_pixel(folded["linear.bias"]),
    }
    index = 0
    for block in blocks:
        convert_block(folded, f"blocks.{block}.0", result, f"generator.layers.{index}", size)
        index += 1
        if f"blocks.{block}.1.gamma" in folded:
            convert_attention(folded, f"blocks.{block}.1", result, f"generator.layers.{index}")
            index += 1
    convert_output(folded, result)
    return Converted(result, notes=norm_notes(state))


def check_depth(state: State, blocks: list[int]) -> None:
    """Refuse networks that do not double their size at every second block, as far as their channels tell."""
    changes = [i for i in blocks if channels(state, i)[0] != channels(state, i)[1]]
    if len(blocks) % 2 or any(i % 2 == 0 for i in changes):
        raise CheckpointError("it is a BigGAN-deep of another depth than 2 (G_depth), which is not rendered here")


def channels(state: State, block: int) -> tuple[int, int]:
    """Input and output channels of a block."""
    name = f"blocks.{block}.0"
    return state[f"{name}.conv1.weight"].shape[1], state[f"{name}.conv4.weight"].shape[0]


def matrix(state: State, key: str) -> Tensor:
    """Return a tensor that must have two dimensions."""
    if state[key].dim() != 2:
        raise CheckpointError(f"it is damaged: '{key}' has the odd shape {list(state[key].shape)}")
    return state[key]


def z_first(weight: Tensor, size: int) -> Tensor:
    """Put the columns of the class embedding, the first `size`, behind those of z."""
    return torch.cat([weight[:, size:], weight[:, :size]], dim=1)


def by_pixel(rows: Tensor) -> Tensor:
    """Order the rows [C * 4 * 4, …] of a linear layer as [4 * 4 * C, …]."""
    pixels: Tensor = rows.unflatten(0, (-1, 16))
    return pixels.transpose(0, 1).flatten(0, 1)


def convert_block(state: State, theirs: str, result: dict[str, Tensor], ours: str, size: int) -> None:
    """Convert a residual block."""
    for i in range(4):
        for part in ("weight", "bias"):
            result[f"{ours}.conv_{i}.{part}"] = state[f"{theirs}.conv{i + 1}.{part}"]
        norm, to = f"{theirs}.bn{i + 1}", f"{ours}.bn_{i}"
        result[f"{to}.scale.weight"] = z_first(matrix(state, f"{norm}.gain.weight"), size)
        result[f"{to}.offset.weight"] = z_first(matrix(state, f"{norm}.bias.weight"), size)
        convert_statistics(state, norm, result, to)


def convert_attention(state: State, theirs: str, result: dict[str, Tensor], ours: str) -> None:
    """Convert self-attention."""
    for part, name in (("theta", "theta"), ("phi", "phi"), ("g", "g"), ("o", "o_conv")):
        result[f"{ours}.snconv1x1_{name}.weight"] = state[f"{theirs}.{part}.weight"]
    result[f"{ours}.gamma"] = state[f"{theirs}.gamma"].reshape(1)


def convert_statistics(state: State, theirs: str, result: dict[str, Tensor], ours: str) -> None:
    """Convert a batch norm's statistics, which there are one of."""
    shift = THEIR_EPS - BATCH_NORM_EPS
    result[f"{ours}.running_means"] = state[f"{theirs}.stored_mean"][None]
    result[f"{ours}.running_vars"] = (state[f"{theirs}.stored_var"].double() + shift).float()[None]


def convert_output(state: State, result: dict[str, Tensor]) -> None:
    """Convert the last layers; a convolution to three channels is padded to as many as it reads."""
    for name, part in (("weight", "gain"), ("bias", "bias")):
        result[f"generator.bn.{name}"] = state[f"output_layer.0.{part}"]
    convert_statistics(state, "output_layer.0", result, "generator.bn")
    for part in ("weight", "bias"):
        rows = state[f"output_layer.2.{part}"]
        width = state["output_layer.2.weight"].shape[1]
        padding = rows.new_zeros(max(width - rows.shape[0], 0), *rows.shape[1:])
        result[f"generator.conv_to_rgb.{part}"] = torch.cat([rows, padding])
