"""Small random state dicts of every family, in the key layouts of the files that users hold."""

import re
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.biggan import BigGAN
from pipeline.generators.biggan_deep import BigGANDeep
from pipeline.generators.dcgan import DCGAN
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.lucidrains import LucidStyleGAN2
from pipeline.generators.progan import ProGAN
from pipeline.generators.stylegan1 import StyleGAN1
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.generators.stylegan3 import StyleGAN3

State = dict[str, Tensor]


class Draw:
    """Random tensors, the same in every run."""

    def __init__(self, seed: int = 0):
        self.rng = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.rng) * std

    def positive(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.rng) + 0.5


def stylegan1() -> State:
    return randomised(StyleGAN1([8, 8, 6, 4], z_dim=12, w_dim=10, mapping_layers=2))


def stylegan2() -> State:
    return randomised(StyleGAN2(32, {4: 8, 8: 8, 16: 6, 32: 4}, z_dim=12, w_dim=10, c_dim=3, mapping_layers=2))


def stylegan3() -> State:
    """Configuration T with fewer layers, at 16x16 and 32x32."""
    return randomised(StyleGAN3(32, [8, 8, 6, 6, 4, 4], z_dim=12, w_dim=10, c_dim=3))


def stylegan3_r() -> State:
    """Configuration R: 1x1 convolutions and radial filters."""
    return randomised(StyleGAN3(32, [8, 8, 6, 4, 4], z_dim=12, w_dim=10, conv_kernel=1, radial=True))


def randomised(network: LayeredGenerator) -> State:
    """Fill all but the filters and what keeps signals in range with noise, so that nothing is without effect."""
    draw = Draw()
    state = {}
    for key, tensor in network.state_dict().items():
        std = 30.0 if re.match(r"mapping\.(dense|fc)", key) else 0.7
        kept = key.endswith(("_filter", "blur.kernel", "magnitude_ema", "transform", "input.affine.bias"))
        state[key] = tensor if kept else draw.normal(*tensor.shape, std=std)
    return state


def spectral(draw: Draw, state: State, name: str, *shape: int, bias: bool = True) -> None:
    """A layer of BigGAN-PyTorch: weight, bias, u0 and sv0."""
    state[f"{name}.weight"] = draw.normal(*shape, std=0.3)
    if bias:
        state[f"{name}.bias"] = draw.normal(shape[0], std=0.3)
    state[f"{name}.u0"] = draw.normal(1, shape[0])
    state[f"{name}.sv0"] = draw.positive(1)


def biggan(hierarchical: bool = True) -> State:
    """BigGAN of 32x32: chunks of z of 4, class embeddings of 6, 5 classes, attention at 16x16."""
    draw, state, channels = Draw(), {}, [16, 16, 8, 8]
    condition = 10 if hierarchical else 6
    state["shared.weight"] = draw.normal(5, 6)
    spectral(draw, state, "linear", channels[0] * 16, 4)
    for i in range(3):
        before, after = channels[i], channels[i + 1]
        spectral(draw, state, f"blocks.{i}.0.conv1", after, before, 3, 3)
        spectral(draw, state, f"blocks.{i}.0.conv2", after, after, 3, 3)
        spectral(draw, state, f"blocks.{i}.0.conv_sc", after, before, 1, 1)
        for norm, width in (("bn1", before), ("bn2", after)):
            for part in ("gain", "bias"):
                spectral(draw, state, f"blocks.{i}.0.{norm}.{part}", width, condition, bias=False)
            state[f"blocks.{i}.0.{norm}.stored_mean"] = draw.normal(width)
            state[f"blocks.{i}.0.{norm}.stored_var"] = draw.positive(width)
    for name, shape in (("theta", (1, 8)), ("phi", (1, 8)), ("g", (4, 8)), ("o", (8, 4))):
        spectral(draw, state, f"blocks.1.1.{name}", *shape, 1, 1, bias=False)
    state["blocks.1.1.gamma"] = torch.tensor(0.8)
    for part in ("gain", "bias", "stored_mean"):
        state[f"output_layer.0.{part}"] = draw.normal(8)
    state["output_layer.0.stored_var"] = draw.positive(8)
    spectral(draw, state, "output_layer.2", 3, 8, 3, 3)
    return state


def torch_spectral(draw: Draw, state: State, name: str, *shape: int, bias: bool = True) -> None:
    """A layer under torch's spectral_norm: weight_orig, weight_u, weight_v, bias."""
    state[f"{name}.weight_orig"] = draw.normal(*shape, std=0.3)
    u, _, vh = torch.linalg.svd(state[f"{name}.weight_orig"].flatten(1))
    state[f"{name}.weight_u"] = F.normalize(u[:, 0] + draw.normal(shape[0], std=0.1), dim=0)
    state[f"{name}.weight_v"] = F.normalize(vh[0] + draw.normal(len(vh), std=0.01), dim=0)
    if bias:
        state[f"{name}.bias"] = draw.normal(shape[0], std=0.3)


DEEP_BLOCKS = [(16, 16), (16, 8), (8, 8), (8, 8)]
DEEP_ATTENTION = 2


def biggan_deep() -> State:
    """BigGAN-deep of 16x16: z of 6, class embeddings of 4, 5 classes, statistics at 0, 0.5 and 1."""
    draw, state = Draw(), {}
    state["embeddings.weight"] = draw.normal(4, 5)
    torch_spectral(draw, state, "generator.gen_z", 16 * 16, 10)
    for i, (before, after) in enumerate(DEEP_BLOCKS):
        name, middle = f"generator.layers.{i + (i >= DEEP_ATTENTION)}", before // 2
        convs = ((before, middle, 1), (middle, middle, 3), (middle, middle, 3), (middle, after, 1))
        for j, (inputs, outputs, size) in enumerate(convs):
            torch_spectral(draw, state, f"{name}.conv_{j}", outputs, inputs, size, size)
            for part in ("scale", "offset"):
                torch_spectral(draw, state, f"{name}.bn_{j}.{part}", inputs, 10, bias=False)
            state[f"{name}.bn_{j}.running_means"] = draw.normal(3, inputs)
            state[f"{name}.bn_{j}.running_vars"] = draw.positive(3, inputs)
    for part, shape in (("theta", (1, 8)), ("phi", (1, 8)), ("g", (4, 8)), ("o_conv", (8, 4))):
        torch_spectral(draw, state, f"generator.layers.2.snconv1x1_{part}", *shape, 1, 1, bias=False)
    state["generator.layers.2.gamma"] = torch.tensor([0.8])
    for part in ("weight", "bias"):
        state[f"generator.bn.{part}"] = draw.normal(8)
    state["generator.bn.running_means"], state["generator.bn.running_vars"] = draw.normal(3, 8), draw.positive(3, 8)
    torch_spectral(draw, state, "generator.conv_to_rgb", 8, 8, 3, 3)
    return state


def progan() -> State:
    """ProGAN of 16x16: z of 10, and the ToRGBs of all resolutions."""
    draw, channels = Draw(), {4: 8, 8: 6, 16: 4}
    state = {"b4.dense.weight": draw.normal(8 * 16, 10), "b4.dense.bias": draw.normal(8)}
    for resolution, width in channels.items():
        if resolution > 4:
            state[f"b{resolution}.conv0.weight"] = draw.normal(width, channels[resolution // 2], 3, 3)
            state[f"b{resolution}.conv0.bias"] = draw.normal(width)
        state[f"b{resolution}.conv1.weight"] = draw.normal(width, width, 3, 3)
        state[f"b{resolution}.conv1.bias"] = draw.normal(width)
        state[f"b{resolution}.torgb.weight"] = draw.normal(3, width, 1, 1)
        state[f"b{resolution}.torgb.bias"] = draw.normal(3)
    return state


def dcgan(colours: int = 3) -> State:
    """DCGAN of 32x32: z of 10."""
    draw, widths, state = Draw(), [10, 8, 6, 4, colours], {}
    for i, (before, after) in enumerate(pairwise(widths)):
        state[f"main.{3 * i}.weight"] = draw.normal(before, after, 4, 4, std=0.3)
        if i < 3:
            state[f"main.{3 * i + 1}.weight"], state[f"main.{3 * i + 1}.bias"] = (
                draw.normal(after),
                draw.normal(after),
            )
            state[f"main.{3 * i + 1}.running_mean"] = draw.normal(after)
            state[f"main.{3 * i + 1}.running_var"] = draw.positive(after)
            state[f"main.{3 * i + 1}.num_batches_tracked"] = torch.tensor(7)
    return state


def lucidrains() -> State:
    """StyleGAN2 of lucidrains, 16x16: w of 10."""
    draw, network = Draw(), LucidStyleGAN2([8, 6, 4], w_dim=10, mapping_layers=2)
    scales = {"S": 8.0, "G": 0.3, "noise": 1.0}
    return {
        key: draw.normal(*tensor.shape, std=scales[key.split(".")[0]])
        for key, tensor in network.state_dict().items()
    }


FAMILIES: dict[str, tuple[type[LayeredGenerator], Callable[[], State]]] = {
    "stylegan1": (StyleGAN1, stylegan1),
    "stylegan2": (StyleGAN2, stylegan2),
    "stylegan3": (StyleGAN3, stylegan3),
    "stylegan3-r": (StyleGAN3, stylegan3_r),
    "lucidrains": (LucidStyleGAN2, lucidrains),
    "biggan": (BigGAN, biggan),
    "biggan-deep": (BigGANDeep, biggan_deep),
    "progan": (ProGAN, progan),
    "dcgan": (DCGAN, dcgan),
}
