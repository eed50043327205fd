"""The networks of genforce's zoo and its relatives (InterFaceGAN, HiGAN, mGANprior, IDInvert), in terms of ours.

They number layers (`layer0`, `layer1`, …) where others name resolutions, and come in two dialects: in the zoo
itself a layer is one module (`layer1.weight`, `layer1.bias`), in the relatives it is made of several
(`layer1.conv.weight`, `layer1.wscale.bias`). Weights are as trained in both, without the gain of the equalised
learning rate.
"""

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.completing import with_filters
from pipeline.generators.checkpoints.conversions import name_noises
from pipeline.generators.checkpoints.converted import Converted
from pipeline.generators.layers import resample_filter_buffer

State = Mapping[str, Tensor]
Turn = Callable[[Tensor], Tensor]
Rule = tuple[str, str, Turn]

TANH_NOTE = "it has a w for each layer like IDInvert's networks, whose images end in tanh; the file does not say so"
FUSED_FROM = 128  # StyleGAN's resolutions from here up are reached by a transposed convolution


def same(tensor: Tensor) -> Tensor:
    """Leave it as it is."""
    return tensor


def turned(tensor: Tensor) -> Tensor:
    """[k, k, in, out], TensorFlow's order, which the relatives keep -> [out, in, k, k]."""
    return tensor.permute(3, 2, 0, 1)


def flipped(tensor: Tensor) -> Tensor:
    """Turn the kernels of [out, in, k, k] by 180 degrees, as those of transposed convolutions are stored."""
    return tensor.flip(2, 3)


def turned_and_flipped(tensor: Tensor) -> Tensor:
    """Do as `turned`, then as `flipped`."""
    return flipped(turned(tensor))


def plus_one(tensor: Tensor) -> Tensor:
    """Add the 1 that these networks add to their style biases when they run."""
    return tensor + 1


def embedding(tensor: Tensor) -> Tensor:
    """[labels, D] of an embedding that is not scaled -> [D, labels] of one that is, by 1 / sqrt(labels)."""
    return tensor.T * math.sqrt(tensor.shape[0])


def square(tensor: Tensor) -> Tensor:
    """Take the map of a noise [1, 1, H, W]."""
    return tensor[0, 0]


def first(tensor: Tensor) -> Tensor:
    """Take the only constant of [1, C, 4, 4]."""
    return tensor[0]


def translate(state: State, rules: tuple[Rule, ...], ignore: str, kind: str) -> dict[str, Tensor]:
    """Rename and turn every tensor by the first rule (pattern, key, turn) that fits its whole key.

    Raises:
        CheckpointError: no rule fits one, and it is not among those to ignore.
    """
    result = {}
    for key, tensor in state.items():
        for pattern, ours, turn in rules:
            if match := re.fullmatch(pattern, key):
                result[match.expand(ours)] = turn(tensor)
                break
        else:
            if not re.fullmatch(ignore, key):
                raise CheckpointError(f"its key '{key[:80]}' is in no {kind} of genforce's that is rendered here")
    return result


def check_grown(state: State, key: str) -> None:
    """Refuse a network saved before it had grown to its full resolution."""
    if key in state and float(state[key].float().sum()) != 0:
        raise CheckpointError("it was saved before it had grown to its full resolution: take a later snapshot")


STYLEGAN1: tuple[Rule, ...] = (
    (r"mapping\.label_weight", "mapping.label_weight", same),
    (r"truncation\.w_avg", "truncation.w_avg", same),
    (r"mapping\.dense(\d+)\.(?:fc\.)?weight", r"mapping.dense\1.linear.weight", same),
    (r"mapping\.dense(\d+)\.(?:wscale\.)?bias", r"mapping.dense\1.wscale.bias", same),
    (r"synthesis\.layer0\.const", "synthesis.layer0.first_layer", same),
    (r"synthesis\.layer(\d+)\.blur\.kernel", r"synthesis.layer\1.blur.kernel", same),
    (
        r"synthesis\.layer(\d+)\.(?:epilogue\.)?apply_noise\.(noise|weight)",
        r"synthesis.layer\1.epilogue.apply_noise.\2",
        same,
    ),
    (
        r"synthesis\.layer(\d+)\.(?:epilogue\.style_mod\.dense\.fc|style)\.weight",
        r"synthesis.layer\1.epilogue.style_mod.dense.linear.weight",
        same,
    ),
    (
        r"synthesis\.layer(\d+)\.(?:epilogue\.style_mod\.dense\.wscale|style)\.bias",
        r"synthesis.layer\1.epilogue.style_mod.dense.wscale.bias",
        same,
    ),
    (r"synthesis\.layer(\d+)\.(?:epilogue\.)?bias", r"synthesis.layer\1.epilogue.bias", same),
    (r"synthesis\.layer(\d+)\.conv\.weight", r"synthesis.layer\1.conv.weight", same),
    (r"synthesis\.layer(\d+)\.weight", r"synthesis.layer\1.weight", same),
    (r"synthesis\.output(\d+)\.(?:conv\.)?weight", r"synthesis.output\1.conv.weight", same),
    (r"synthesis\.output(\d+)\.bias", r"synthesis.output\1.bias", same),
)


def from_stylegan1(state: State) -> Converted:
    """Convert a StyleGAN. One that maps z to a w for each layer is IDInvert's, which ends in tanh.

    Whether the convolutions that double are transposed ones the zoo's files do not tell: they are from 128 x 128
    up, as in all its published networks.
    """
    check_grown(state, "synthesis.lod")
    result = translate(state, STYLEGAN1, r"synthesis\.lod|truncation\.truncation", "StyleGAN")
    for key in [key for key in result if re.fullmatch(r"synthesis\.layer\d+\.weight", key)]:
        index = int(key.split(".")[1].removeprefix("layer"))
        if "synthesis.layer0.style.weight" not in state:
            continue  # the relatives call only transposed convolutions so, and keep TensorFlow's order
        if index % 2 == 0 and 4 << index // 2 >= FUSED_FROM:
            result[key] = result[key].permute(2, 3, 1, 0)
        else:
            result[f"synthesis.layer{index}.conv.weight"] = result.pop(key)
    last = max((int(m[1]) for m in (re.match(r"mapping\.dense(\d+)\.", key) for key in result) if m), default=0)
    w_dim = result["synthesis.layer0.epilogue.style_mod.dense.linear.weight"].shape[-1]
    if result["truncation.w_avg"].numel() != w_dim:
        raise CheckpointError("it is a StyleGAN with a mean of w for each layer, which is not rendered here")
    if result[f"mapping.dense{last}.wscale.bias"].shape[0] == w_dim:
        return Converted(result)
    return Converted(result, {"final_tanh": True}, (TANH_NOTE,))


def stylegan2_rules(conv: Turn, transposed: Turn) -> tuple[Rule, ...]:
    """List what the keys of a StyleGAN2 are called here; layer 0 is at 4 x 4, then two layers for each resolution.

    `conv` and `transposed` turn the weights of convolutions, and of those that double.
    """
    rules: list[Rule] = [
        (r"truncation\.w_avg", "mapping.w_avg", same),
        (r"mapping\.dense(\d+)\.(?:fc\.)?weight", r"mapping.fc\1.weight", same),
        (r"mapping\.dense(\d+)\.bias", r"mapping.fc\1.bias", same),
        (r"mapping\.LabelEmbed\.(weight|bias)", r"mapping.embed.\1", same),
        (r"mapping\.label_weight", "mapping.embed.weight", embedding),
        (r"synthesis\.early_layer\.const", "synthesis.b4.const", first),
        (r"synthesis\.layer(\d+)\.noise", r"noise\1", square),
    ]
    places: list[tuple[str, str, Turn]] = []
    for layer in range(32):
        place = f"b{4 << (layer + 1) // 2}.conv{(layer + 1) % 2}"
        places.append((f"layer{layer}", place, transposed if layer % 2 else conv))
        places.append((f"output{layer}", f"b{4 << layer}.torgb", conv))
    for name, ours, turn in places:
        where, place = rf"synthesis\.{name}", f"synthesis.{ours}"
        rules += [
            (rf"{where}\.weight", f"{place}.weight", turn),
            (rf"{where}\.bias", f"{place}.bias", same),
            (rf"{where}\.noise_strength", f"{place}.noise_strength", same),
            (rf"{where}\.style\.(?:fc\.)?weight", f"{place}.affine.weight", same),
            (rf"{where}\.style\.bias", f"{place}.affine.bias", plus_one),
        ]
    return tuple(rules)


def from_stylegan2(state: State) -> Converted:
    """Convert a StyleGAN2 of the zoo (`stylegan2`, `stylegan2ada`) or its relatives, with skips or without."""
    ignore = r"truncation\.truncation|synthesis\.(layer\d+\.filter|upsample)\.kernel"
    for key, tensor in state.items():
        usual = resample_filter_buffer()
        if key.endswith(".kernel") and not torch.allclose(tensor.float() / tensor.sum(), usual, atol=1e-4):
            raise CheckpointError(
                f"its low-pass filter '{key[:80]}' is another than [1, 3, 3, 1], which is rendered"
            )
    relatives = "synthesis.output0.style.fc.weight" in state
    rules = stylegan2_rules(turned, turned_and_flipped) if relatives else stylegan2_rules(same, flipped)
    result = translate(state, rules, ignore, "StyleGAN2")
    result = with_filters(name_noises(result))
    if "mapping.label_weight" not in state:
        return Converted(result)
    result["mapping.embed.bias"] = torch.zeros(result["mapping.embed.weight"].shape[0])
    return Converted(result, {"latent_norm": "joint"})


def from_progan(state: State) -> Converted:
    """Convert a ProGAN."""
    check_grown(state, "lod")
    fused = fused_layers(state)
    result = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"(layer|output)(\d+)\.(?:(?:conv\.)?(weight)|(?:wscale\.)?(bias))", key)
        if match is None:
            if key != "lod":
                raise CheckpointError(f"its key '{key[:80]}' is in no ProGAN of genforce's")
            continue
        kind, index, leaf = match[1], int(match[2]), match[3] or match[4]
        if index > 64:
            raise CheckpointError(f"its key '{key[:80]}' is in no ProGAN of genforce's")
        if kind == "output":
            result[f"b{4 << index}.torgb.{leaf}"] = tensor
        elif index == 0:
            # A 4 x 4 convolution of one padded pixel gives its kernel, turned by 180 degrees.
            flat = tensor.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2) if leaf == "weight" else tensor
            result[f"b4.dense.{leaf}"] = flat
        else:
            place = f"b{4 << index // 2}.conv{index % 2}"
            result[f"{place}.{leaf}"] = fused[index] if leaf == "weight" and index in fused else tensor
    return Converted(result)


def fused_layers(state: State) -> dict[int, Tensor]:
    """Return the weights of transposed convolutions as those [out, in, 3, 3] of convolutions after doubling.

    The relatives keep them as [3, 3, in, out] under `layer{k}.weight`. In the zoo, where they are [in, out, 3, 3],
    only their shapes tell, at the resolutions where the number of channels changes.
    """
    relatives = "layer0.conv.weight" in state
    found: dict[int, Tensor] = {}
    changes = False
    for index in range(2, 64, 2):
        weight, bias = state.get(f"layer{index}.weight"), state.get(f"layer{index + 1}.bias")
        if weight is None or weight.dim() != 4:
            continue
        found[index] = (weight.permute(3, 2, 0, 1) if relatives else weight.transpose(0, 1)).flip(2, 3)
        changes |= bias is not None and weight.shape[0] != weight.shape[1] and weight.shape[1] == bias.shape[0]
    return found if relatives or changes else {}
