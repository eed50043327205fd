"""StyleGAN (Karras et al. 2019), with the state-dict keys of its PyTorch port.

Of the RGB outputs only the finest renders; those of coarser resolutions, which a file holds from progressive
growing, are left out.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import LayeredGenerator, State
from pipeline.generators.layers import numbers, truncate
from pipeline.generators.stylegan1_layers import (
    FUSED_FROM,
    Layer,
    MappingNetwork,
    ToRGB,
    blur_kernel,
    layer_resolution,
)


class MeanW(nn.Module):
    """The tracked mean of w, used for truncation."""

    w_avg: Tensor

    def __init__(self, w_dim: int):
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(w_dim))


class StyleGAN1(LayeredGenerator):
    """The generator G. Its num_ws layers are those where it can stop, too: w[l] styles the output of layer l.

    Args:
        channels: feature channels of every resolution 4, 8, 16, …
    """

    title: ClassVar[str] = "StyleGAN1"

    def __init__(self, channels: Sequence[int], z_dim: int = 512, w_dim: int = 512, mapping_layers: int = 8):
        super().__init__()
        self.num_ws = self.num_layers = 2 * len(channels)
        self.resolution, self.z_dim, self.w_dim, self.c_dim = layer_resolution(self.num_ws - 1), z_dim, w_dim, 0
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers)
        self.truncation = MeanW(w_dim)
        self.synthesis = nn.Module()
        for i in range(self.num_layers):
            in_channels = channels[max(i - 1, 0) // 2]
            self.synthesis.add_module(f"layer{i}", Layer(i, in_channels, channels[i // 2], w_dim))
        self.synthesis.add_module(f"output{len(channels) - 1}", ToRGB(channels[-1]))

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Leave out what does not render; add the blur, a constant that not every file repeats."""
        if state.get("synthesis.lod", torch.zeros([])).item() != 0:
            raise ValueError("'synthesis.lod' is not 0: it has not grown to its full resolution")
        last = last_layer(state)
        unused = re.compile(rf"truncation\.truncation$|synthesis\.(lod$|output(?!{last // 2}\.)\d+\.)")
        prepared = {key: tensor for key, tensor in state.items() if not unused.match(key)}
        for i in range(2, last, 2):
            channels = state[f"synthesis.layer{i}.epilogue.bias"].shape[0]
            prepared.setdefault(f"synthesis.layer{i}.blur.kernel", blur_kernel(channels))
        return prepared

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""
        biases = [state[f"synthesis.layer{i}.epilogue.bias"] for i in range(0, last_layer(state) + 1, 2)]
        return {
            "channels": [bias.shape[0] for bias in biases],
            "z_dim": state["mapping.dense0.linear.weight"].shape[1],
            "w_dim": state["truncation.w_avg"].shape[0],
            "mapping_layers": len(numbers(r"mapping\.dense(\d+)\.", state)),
        }

    @property
    def mean_w(self) -> Tensor:
        """The tracked mean of w [w_dim], which truncation moves to."""
        return self.truncation.w_avg

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] to w+ [B, num_ws, w_dim]; there are no labels.

        Truncation moves the first `truncation_cutoff` layers (all, if None) to w_avg + psi * (w - w_avg); the
        official networks are usually shown with psi 0.7 and cutoff 8.
        """
        return truncate(self.mapping(z), self.truncation.w_avg, truncation_psi, truncation_cutoff, self.num_ws)

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 4, 8, 8, 16, …"""
        self.check_layer(layer)
        return layer_resolution(layer)

    def layer(self, index: int) -> Layer:
        """Return the module of a layer."""
        module = self.synthesis.get_submodule(f"layer{index}")
        assert isinstance(module, Layer)
        return module

    def styles(self, index: int) -> list[nn.Module]:
        """What turns w number `index` of w+ into scales and offsets of features."""
        return [self.layer(index).epilogue.style_mod.dense]

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Style the constant."""
        x = self.layer(0).first_layer.to(self.dtype_at(4)).expand(ws[0].shape[0], -1, -1, -1)
        return Activations(self.layer(0).epilogue(x, ws[0], noise))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one layer."""
        x = before.features.to(self.dtype_at(layer_resolution(layer)))
        return Activations(self.layer(layer)(x, ws[layer], noise))

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB."""
        image: Tensor = self.synthesis.get_submodule(f"output{self.num_layers // 2 - 1}")(last.features)
        return image


def last_layer(state: State) -> int:
    """Return the highest layer that a state dict has a key for."""
    return max(numbers(r"synthesis\.layer(\d+)\.", state), default=0)


def tf_names(resolution: int) -> dict[str, str]:
    """Name of every variable in the official TensorFlow network -> key here, for an importer.

    Dense and StyleMod weights are to be transposed, convolutions [3, 3, in, out] to be permuted to [out, in, 3, 3],
    except `synthesis.layer{k}.weight`, which keeps that order; noise and constant have the same shapes here.
    """
    names = {"dlatent_avg": "truncation.w_avg", "lod": "synthesis.lod"}
    for i in range(8):
        names[f"Dense{i}/weight"] = f"mapping.dense{i}.linear.weight"
        names[f"Dense{i}/bias"] = f"mapping.dense{i}.wscale.bias"
    stages = resolution.bit_length() - 2
    for i in range(2 * stages):
        size, key = layer_resolution(i), f"synthesis.layer{i}"
        scope = f"{size}x{size}/" + (("Const", "Conv") if size == 4 else ("Conv0_up", "Conv1"))[i % 2]
        if i == 0:
            names[f"{scope}/const"] = f"{key}.first_layer"
        else:
            names[f"{scope}/weight"] = (
                f"{key}.weight" if i % 2 == 0 and size >= FUSED_FROM else f"{key}.conv.weight"
            )
        names[f"noise{i}"] = f"{key}.epilogue.apply_noise.noise"
        names[f"{scope}/Noise/weight"] = f"{key}.epilogue.apply_noise.weight"
        names[f"{scope}/bias"] = f"{key}.epilogue.bias"
        names[f"{scope}/StyleMod/weight"] = f"{key}.epilogue.style_mod.dense.linear.weight"
        names[f"{scope}/StyleMod/bias"] = f"{key}.epilogue.style_mod.dense.wscale.bias"
    for i in range(stages):
        names[f"ToRGB_lod{stages - 1 - i}/weight"] = f"synthesis.output{i}.conv.weight"
        names[f"ToRGB_lod{stages - 1 - i}/bias"] = f"synthesis.output{i}.bias"
    return names
