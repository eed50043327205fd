"""Small checkpoints of pSp, e4e and ReStyle in the published layout, and their codes computed plainly."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.stylegan2 import StyleGAN2
from tests.pipeline.generators.checkpoints.made import as_rosinality
from tests.pipeline.generators.tiny_states import Draw, randomised

WIDTHS, BLOCKS = (4, 5, 6, 8), (1, 2, 1, 1)
STARTS, ENDS = (0, 1, 3, 4), (2, 3, 4)
W_DIM, LAYERS, RESOLUTION = 8, 8, 32
State = dict[str, Tensor]


def norm(draw: Draw, state: State, key: str, channels: int) -> None:
    state[f"{key}.weight"] = draw.positive(channels)
    state[f"{key}.bias"] = draw.normal(channels, std=0.2)
    state[f"{key}.running_mean"] = draw.normal(channels, std=0.2)
    state[f"{key}.running_var"] = draw.positive(channels)
    state[f"{key}.num_batches_tracked"] = torch.tensor(7)


def conv(draw: Draw, state: State, key: str, out: int, inputs: int, size: int, bias: bool = False) -> None:
    state[f"{key}.weight"] = draw.normal(out, inputs, size, size, std=1 / math.sqrt(inputs * size**2))
    if bias:
        state[f"{key}.bias"] = draw.normal(out, std=0.2)


def linear(draw: Draw, state: State, key: str, out: int, inputs: int) -> None:
    state[f"{key}.weight"], state[f"{key}.bias"] = draw.normal(out, inputs), draw.normal(out, std=0.3)


def irse(draw: Draw, channels: int) -> State:
    state: State = {}
    conv(draw, state, "input_layer.0", WIDTHS[0], channels, 3)
    norm(draw, state, "input_layer.1", WIDTHS[0])
    state["input_layer.2.weight"] = draw.positive(WIDTHS[0]) / 4
    before, number = WIDTHS[0], 0
    for width, count in zip(WIDTHS, BLOCKS, strict=True):
        for _ in range(count):
            block = f"body.{number}"
            if before != width:
                conv(draw, state, f"{block}.shortcut_layer.0", width, before, 1)
                norm(draw, state, f"{block}.shortcut_layer.1", width)
            norm(draw, state, f"{block}.res_layer.0", before)
            conv(draw, state, f"{block}.res_layer.1", width, before, 3)
            state[f"{block}.res_layer.2.weight"] = draw.positive(width) / 4
            conv(draw, state, f"{block}.res_layer.3", width, width, 3)
            norm(draw, state, f"{block}.res_layer.4", width)
            conv(draw, state, f"{block}.res_layer.5.fc1", 2, width, 1)
            conv(draw, state, f"{block}.res_layer.5.fc2", width, 2, 1)
            before, number = width, number + 1
    return state


def resnet(draw: Draw, channels: int) -> State:
    state: State = {}
    conv(draw, state, "conv1", WIDTHS[0], channels, 7)
    norm(draw, state, "bn1", WIDTHS[0])
    state["relu.weight"] = draw.positive(WIDTHS[0]) / 4
    before, number = WIDTHS[0], 0
    for width, count in zip(WIDTHS, BLOCKS, strict=True):
        for _ in range(count):
            block = f"body.{number}"
            for name, inputs in (("1", before), ("2", width)):
                conv(draw, state, f"{block}.conv{name}", width, inputs, 3)
                norm(draw, state, f"{block}.bn{name}", width)
            if before != width:
                conv(draw, state, f"{block}.downsample.0", width, before, 1)
                norm(draw, state, f"{block}.downsample.1", width)
            before, number = width, number + 1
    return state


def pyramid(draw: Draw, deep: bool) -> State:
    """A head for each layer: of an encoder with a pyramid the first 3, next 4 and last see other features."""
    state: State = {}
    for i in range(LAYERS):
        for k in range(4 if i < 3 or not deep else 5 if i < 7 else 6):
            conv(draw, state, f"styles.{i}.convs.{2 * k}", W_DIM, WIDTHS[3] if k == 0 else W_DIM, 3, bias=True)
        linear(draw, state, f"styles.{i}.linear", W_DIM, W_DIM)
    if deep:
        conv(draw, state, "latlayer1", WIDTHS[3], WIDTHS[2], 1, bias=True)
        conv(draw, state, "latlayer2", WIDTHS[3], WIDTHS[1], 1, bias=True)
    return state


def flat(draw: Draw) -> State:
    state: State = {}
    norm(draw, state, "output_layer_2.0", WIDTHS[3])
    linear(draw, state, "output_layer_2.3", W_DIM, WIDTHS[3] * 49)
    state["output_layer_2.3.weight"] /= 20
    linear(draw, state, "linear", LAYERS * W_DIM, W_DIM)
    return state


def encoder_state(kind: str, channels: int) -> State:
    """The encoder of this `encoder_type`, without its prefix."""
    draw = Draw(len(kind))
    state = (resnet if kind.startswith("ResNet") else irse)(draw, channels)
    if kind.endswith("IntoWPlus"):
        return state | flat(draw)
    if kind.endswith("IntoW") or kind == "SingleStyleCodeEncoder":
        linear(draw, state, "linear", W_DIM, WIDTHS[3])
        return state
    return state | pyramid(draw, deep="Gradual" in kind or kind == "Encoder4Editing")


def generator_state(seed: int = 0) -> State:
    """A StyleGAN2 that such encoders are for."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        channels = {4: 6, 8: 6, 16: 4, 32: 4}
        network = StyleGAN2(RESOLUTION, channels, z_dim=W_DIM, w_dim=W_DIM, mapping_layers=2)
    state = randomised(network)
    return {key: tensor * (1.0 if seed == 0 or "synthesis" not in key else 1.1) for key, tensor in state.items()}


def checkpoint(kind: str, channels: int = 3, **options: Any) -> dict[str, Any]:
    """What the published files hold; an option given as None is left out."""
    decoder = as_rosinality(generator_state())["g_ema"]
    encoder = {f"encoder.{key}": tensor for key, tensor in encoder_state(kind, channels).items()}
    opts = {
        "encoder_type": kind, "dataset_type": "ffhq_encode", "start_from_latent_avg": True,
        "output_size": RESOLUTION, "input_nc": channels, "label_nc": 0,
        "learning_rate": 1e-4, "device": "cuda:0", "checkpoint_path": None,
    } | options  # fmt: skip
    return {
        "state_dict": encoder | {f"decoder.{key}": tensor for key, tensor in decoder.items()},
        "latent_avg": generator_state()["mapping.w_avg"].repeat(LAYERS, 1),
        "opts": {key: value for key, value in opts.items() if value is not None},
    }


def write(path: Path, content: Mapping[str, Any], **options: Any) -> Path:
    torch.save(dict(content), path, **options)
    return path


# The same codes, from the file's tensors by torch's functions alone.


def normalised(state: State, key: str, x: Tensor) -> Tensor:
    shift, scale = state[f"{key}.running_mean"], (state[f"{key}.running_var"] + 1e-5).sqrt()
    x = (x - shift[:, None, None]) / scale[:, None, None]
    return x * state[f"{key}.weight"][:, None, None] + state[f"{key}.bias"][:, None, None]


def prelu(state: State, key: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * state[key][:, None, None])


def features(state: State, x: Tensor) -> list[Tensor]:
    improved = "input_layer.0.weight" in state
    if improved:
        x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
        x = prelu(state, "input_layer.2.weight", normalised(state, "input_layer.1", x))
    else:
        x = F.conv2d(x, state["conv1.weight"], stride=2, padding=3)
        x = prelu(state, "relu.weight", normalised(state, "bn1", x))
    seen = []
    for i in range(sum(BLOCKS)):
        at = f"body.{i}"
        stride = 2 if i in (STARTS if improved else STARTS[1:]) else 1
        if improved:
            skip = x[:, :, ::stride, ::stride]
            if f"{at}.shortcut_layer.0.weight" in state:
                skip = normalised(
                    state, f"{at}.shortcut_layer.1", F.conv2d(skip, state[f"{at}.shortcut_layer.0.weight"])
                )
            x = F.conv2d(normalised(state, f"{at}.res_layer.0", x), state[f"{at}.res_layer.1.weight"], padding=1)
            x = prelu(state, f"{at}.res_layer.2.weight", x)
            x = F.conv2d(x, state[f"{at}.res_layer.3.weight"], stride=stride, padding=1)
            x = normalised(state, f"{at}.res_layer.4", x)
            means = x.mean(dim=(2, 3))
            squeezed = (means @ state[f"{at}.res_layer.5.fc1.weight"][:, :, 0, 0].T).clamp(min=0)
            x = (
                x * torch.sigmoid(squeezed @ state[f"{at}.res_layer.5.fc2.weight"][:, :, 0, 0].T)[:, :, None, None]
                + skip
            )
        else:
            skip = x
            if f"{at}.downsample.0.weight" in state:
                skip = normalised(
                    state, f"{at}.downsample.1", F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride)
                )
            x = F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = normalised(state, f"{at}.bn1", x).clamp(min=0)
            x = normalised(state, f"{at}.bn2", F.conv2d(x, state[f"{at}.conv2.weight"], padding=1))
            x = (x + skip).clamp(min=0)
        if i in ENDS:
            seen.append(x)
    return seen


def equalised(state: State, key: str, x: Tensor) -> Tensor:
    weight = state[f"{key}.weight"]
    return x @ weight.T / math.sqrt(weight.shape[1]) + state[f"{key}.bias"]


def plain_codes(kind: str, state: State, x: Tensor) -> Tensor:
    """Codes [B, layers, w_dim] of images [B, 3 or 6, 256 or 192, 256]."""
    fine, middle, coarse = features(state, x)
    if kind.endswith("IntoWPlus"):
        x = F.adaptive_avg_pool2d(normalised(state, "output_layer_2.0", coarse), 7).flatten(1)
        x = x @ state["output_layer_2.3.weight"].T + state["output_layer_2.3.bias"]
        return equalised(state, "linear", x).reshape(-1, LAYERS, W_DIM)
    if "styles.0.linear.weight" not in state:
        return equalised(state, "linear", coarse.mean(dim=(2, 3)))[:, None].repeat(1, LAYERS, 1)
    maps = [coarse, coarse, coarse]
    if "latlayer1.weight" in state:
        for level, lateral in ((1, middle), (2, fine)):
            lateral = F.conv2d(lateral, state[f"latlayer{level}.weight"], state[f"latlayer{level}.bias"])
            wider = F.interpolate(maps[level - 1], size=lateral.shape[2:], mode="bilinear", align_corners=True)
            maps[level] = wider + lateral
    codes = []
    for i in range(LAYERS):
        x, k = maps[0 if i < 3 else 1 if i < 7 else 2], 0
        while f"styles.{i}.convs.{2 * k}.weight" in state:
            at = f"styles.{i}.convs.{2 * k}"
            x = F.conv2d(x, state[f"{at}.weight"], state[f"{at}.bias"], stride=2, padding=1)
            x, k = torch.where(x > 0, x, 0.01 * x), k + 1
        codes.append(equalised(state, f"styles.{i}.linear", x[:, :, 0, 0]))
    if kind == "Encoder4Editing" or "Progressive" in kind:
        codes = [codes[0], *(codes[0] + code for code in codes[1:])]
    return torch.stack(codes, dim=1)
