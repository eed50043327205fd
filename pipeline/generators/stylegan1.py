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
from pipeline.generators.layered import State, StyleGenerator
from pipeline.generators.layers import numbers
from pipeline.generators.stylegan1_layers import (
    FUSED_FROM,
    EpilogueOptions,
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


class StyleGAN1(StyleGenerator):
    """The generator G. Its num_ws layers are those where it can stop, too: w[l] styles the output of layer l.

    Args:
        channels: feature channels of every resolution 4, 8, 16, …
        one_w: whether z is mapped to one w for all layers, or to one for each (IDInvert).
        mapping_hidden: features between the mapping's layers; None is w_dim.
        blur_size: height and width of the kernel that follows every up-convolution.
        constant: whether layer 0 begins with a constant rather than with a linear map of its w.
        activation, mapping_activation: "lrelu" or "relu".
        pixel_norm, instance_norm: what follows the activation (`EpilogueOptions`).
        latent_norm: "joint" if the mapping scales z, with the label's part, to unit mean square, else "none".
        final_tanh: whether images end in tanh (IDInvert).
    """

    title: ClassVar[str] = "StyleGAN1"
    settings: ClassVar[tuple[str, ...]] = (
        "activation",
        "mapping_activation",
        "pixel_norm",
        "instance_norm",
        "latent_norm",
        "final_tanh",
    )

    def __init__(
        self,
        channels: Sequence[int],
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        c_dim: int = 0,
        mapping_hidden: int | None = None,
        blur_size: tuple[int, int] = (3, 3),
        constant: bool = True,
        activation: str = "lrelu",
        mapping_activation: str = "lrelu",
        pixel_norm: bool = False,
        instance_norm: bool = True,
        latent_norm: str = "joint",
        one_w: bool = True,
        final_tanh: bool = False,
    ):
        super().__init__()
        self.final_tanh = final_tanh
        self.num_ws = self.num_layers = 2 * len(channels)
        self.resolution, self.z_dim, self.w_dim = layer_resolution(self.num_ws - 1), z_dim, w_dim
        self.c_dim = c_dim
        count = 1 if one_w else self.num_ws
        self.mapping = MappingNetwork(
            z_dim, w_dim, mapping_layers, c_dim, mapping_hidden, mapping_activation, latent_norm, count
        )
        self.truncation = MeanW(w_dim)
        self.synthesis = nn.Module()
        options = EpilogueOptions(activation, pixel_norm, instance_norm)
        for i in range(self.num_layers):
            in_channels = channels[max(i - 1, 0) // 2]
            layer = Layer(i, in_channels, channels[i // 2], w_dim, options, blur_size, constant)
            self.synthesis.add_module(f"layer{i}", layer)
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
        w_dim, mapping_layers = state["truncation.w_avg"].shape[0], len(numbers(r"mapping\.dense(\d+)\.", state))
        hidden, z_dim = state["mapping.dense0.linear.weight"].shape if mapping_layers else (w_dim, w_dim)
        labels = state.get("mapping.label_weight")
        kernel = state.get("synthesis.layer2.blur.kernel")
        last = (
            state[f"mapping.dense{mapping_layers - 1}.wscale.bias"] if mapping_layers else state["truncation.w_avg"]
        )
        return {
            "channels": [bias.shape[0] for bias in biases],
            "z_dim": z_dim if labels is None else labels.shape[1],
            "w_dim": w_dim,
            "c_dim": 0 if labels is None else labels.shape[0],
            "mapping_layers": mapping_layers,
            "mapping_hidden": hidden if mapping_layers > 1 else None,
            "one_w": last.shape[0] == w_dim,
            "blur_size": (3, 3) if kernel is None else (kernel.shape[2], kernel.shape[3]),
            "constant": "synthesis.layer0.first_dense" not in state,
        }

    @property
    def mean_w(self) -> Tensor:
        """The tracked mean of w [w_dim], which truncation moves to."""
        return self.truncation.w_avg

    def mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Run the mapping network."""
        w: Tensor = self.mapping(z, c)
        return w

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
        return Activations(self.layer(0).first(ws[0], self.dtype_at(4), noise))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one layer."""
        x = before.features.to(self.dtype_at(layer_resolution(layer)))
        return Activations(self.layer(layer)(x, ws[layer], noise))

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features to RGB."""
        image: Tensor = self.synthesis.get_submodule(f"output{self.num_layers // 2 - 1}")(last.features)
        return image.tanh() if self.final_tanh else image


def last_layer(state: State) -> int:
    """Return the highest layer that a state dict has a key for."""
    return max(numbers(r"synthesis\.layer(\d+)\.", state), default=0)


def tf_names(resolution: int, mapping_layers: int = 8, first: str = "Const") -> dict[str, str]:
    """Name of every variable in the official TensorFlow network -> key here, for an importer.

    A network whose `first` is "Dense" begins with a linear map of w. Dense and StyleMod weights are to be
    transposed, convolutions [3, 3, in, out] to be permuted to [out, in, 3, 3], except
    `synthesis.layer{k}.weight`, which keeps that order; noise and constant have the same shapes here.
    """
    names = {"dlatent_avg": "truncation.w_avg", "lod": "synthesis.lod"}
    for i in range(mapping_layers):
        names[f"Dense{i}/weight"] = f"mapping.dense{i}.linear.weight"
        names[f"Dense{i}/bias"] = f"mapping.dense{i}.wscale.bias"
    stages = resolution.bit_length() - 2
    for i in range(2 * stages):
        size, key = layer_resolution(i), f"synthesis.layer{i}"
        scope = f"{size}x{size}/" + ((first, "Conv") if size == 4 else ("Conv0_up", "Conv1"))[i % 2]
        if i == 0 and first == "Const":
            names[f"{scope}/const"] = f"{key}.first_layer"
        elif i == 0:
            names[f"{scope}/weight"] = f"{key}.first_dense"
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
