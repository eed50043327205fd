"""StyleGAN3 (Karras et al. 2021), configurations T and R, in plain PyTorch with the reference's state-dict keys.

As in `pipeline.generators.stylegan2`, modulation scales the activations rather than the weights.
"""

import re
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import State, StyleGenerator
from pipeline.generators.layers import numbers
from pipeline.generators.stylegan2_layers import MappingNetwork
from pipeline.generators.stylegan3_layers import SynthesisInput, SynthesisLayer, ToRGB
from pipeline.generators.stylegan3_sampling import Sampling, check

CONV_CLAMP = 256.0
OUTPUT_SCALE = 0.25
LR_MULTIPLIER = 0.01


class SynthesisNetwork(nn.Module):
    """`input` and L0, L1, …, each named with its size and channels as in L0_36_512; the last of them is ToRGB."""

    def __init__(
        self,
        w_dim: int,
        resolution: int,
        channels: Sequence[int],
        kernel: int,
        radial: bool,
        sampling: Sampling,
        clamp: float,
    ):
        super().__init__()
        self.sampling = sampling.layers(resolution, len(channels) - 1)
        self.input = SynthesisInput(w_dim, channels[0], self.sampling[0])
        self.names = [
            f"L{i}_{layer.out_size}_{width}"
            for i, (layer, width) in enumerate(zip(self.sampling, [*channels[1:], 3], strict=True))
        ]
        for name, layer, (before, after) in zip(self.names, self.sampling, pairwise(channels), strict=False):
            self.add_module(name, SynthesisLayer(before, after, kernel, w_dim, layer, radial, clamp))
        self.add_module(self.names[-1], ToRGB(channels[-1], w_dim, clamp))

    def layer(self, index: int) -> nn.Module:
        """Return L`index`."""
        return self.get_submodule(self.names[index])


class StyleGAN3(StyleGenerator):
    """The generator G.

    It can stop after the Fourier features, which read w[0], and after each convolution L0, L1, …, which read w[1],
    w[2], …; the last w is read by ToRGB only. Noise modes have no effect: the network has no noise.

    Args:
        resolution: output height and width, a power of two.
        channels: of the Fourier features and of each convolution.
        conv_kernel: size of the convolutions: 3 in configuration T, 1 in R.
        radial: whether downsampling filters are radially symmetric, as in R.
        sizes: heights of what the layers give, checked against what the settings say.
        conv_clamp: bound on activations; infinite is no bound.
        output_scale: what the image is multiplied with at the end.
        lr_multiplier: of the mapping network's weights.
        sampling: fields of `pipeline.generators.stylegan3_sampling.Sampling`.
    """

    title: ClassVar[str] = "StyleGAN3"
    settings: ClassVar[tuple[str, ...]] = (
        "conv_clamp",
        "output_scale",
        "lr_multiplier",
        *(field.name for field in fields(Sampling)),
    )

    def __init__(
        self,
        resolution: int,
        channels: Sequence[int],
        z_dim: int = 512,
        w_dim: int = 512,
        c_dim: int = 0,
        mapping_layers: int = 2,
        conv_kernel: int = 3,
        radial: bool = False,
        sizes: Sequence[int] | None = None,
        conv_clamp: float = CONV_CLAMP,
        output_scale: float = OUTPUT_SCALE,
        lr_multiplier: float = LR_MULTIPLIER,
        **sampling: Any,
    ):
        super().__init__()
        if conv_clamp != float("inf"):
            check("conv_clamp", conv_clamp, 0, 2**64, int | float)
        check("output_scale", output_scale, -(2**64), 2**64, int | float)
        check("lr_multiplier", lr_multiplier, 0, 2**64, int | float)
        self.resolution, self.z_dim, self.w_dim, self.c_dim = resolution, z_dim, w_dim, c_dim
        self.output_scale = output_scale
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, mapping_layers, lr_mul=lr_multiplier)
        self.synthesis = SynthesisNetwork(
            w_dim, resolution, channels, conv_kernel, radial, Sampling(**sampling), float(conv_clamp)
        )
        self.num_layers = len(channels)
        self.num_ws = self.num_layers + 1
        derived = [layer.out_size for layer in self.synthesis.sampling]
        if sizes is not None and list(sizes) != derived:
            raise ValueError(
                f"its layers are of sizes {list(sizes)}, but its settings (margin_size, num_critical, "
                f"first_cutoff, first_stopband, last_stopband_rel) give {derived}"
            )

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a state dict. Raises KeyError where a key is missing."""
        found = (re.match(r"synthesis\.(L(\d{1,4})_(\d{1,5})_\d{1,5})\.", key) for key in state)
        layers = sorted({(int(m[2]), int(m[3]), m[1]) for m in found if m})
        if not layers or [index for index, _, _ in layers] != list(range(len(layers))):
            raise ValueError("its layers are not synthesis.L0_…, synthesis.L1_…, …")
        names = [name for _, _, name in layers]
        if (colours := state[f"synthesis.{names[-1]}.weight"].shape[0]) != 3:
            raise ValueError(f"it renders {colours} colours instead of 3")
        w_dim = state["mapping.w_avg"].shape[0]
        c_dim = state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0
        filters = [state.get(f"synthesis.{name}.down_filter") for name in names]
        return {
            "resolution": layers[-1][1],
            "channels": [
                state["synthesis.input.weight"].shape[0],
                *(state[f"synthesis.{name}.weight"].shape[0] for name in names[:-1]),
            ],
            "z_dim": state["mapping.fc0.weight"].shape[1] - (w_dim if c_dim else 0),
            "w_dim": w_dim,
            "c_dim": c_dim,
            "mapping_layers": len(numbers(r"mapping\.fc(\d+)\.", state)),
            "conv_kernel": state[f"synthesis.{names[0]}.weight"].shape[2],
            "radial": any(kernel is not None and kernel.dim() == 2 for kernel in filters),
            "sizes": [size for _, size, _ in layers],
        }

    @property
    def mean_w(self) -> Tensor:
        """The tracked mean of w [w_dim], which truncation moves to."""
        return self.mapping.w_avg

    def mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Run the mapping network."""
        w: Tensor = self.mapping(z, c)
        return w

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`, with the margin around the image: 36, 36, …, 276, 256."""
        self.check_layer(layer)
        return self.synthesis.sampling[layer - 1].out_size if layer else self.synthesis.sampling[0].in_size

    def style_resolution(self, index: int) -> int:
        """Sampling rate of the layer that w number `index` styles."""
        sampling = self.synthesis.sampling
        return sampling[index - 1].out_sampling_rate if index else sampling[0].in_sampling_rate

    def styles(self, index: int) -> list[nn.Module]:
        """What turns w number `index` into scales of features; of the first, into a rotation and a shift."""
        module = self.synthesis.layer(index - 1) if index else self.synthesis.input
        return [module.get_submodule("affine")]

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the Fourier features."""
        return Activations(self.synthesis.input(ws[0]))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one convolution."""
        dtype = self.dtype_at(self.style_resolution(layer))
        return Activations(self.synthesis.layer(layer - 1)(before.features.to(dtype), ws[layer]))

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last features into RGB."""
        image: Tensor = self.synthesis.layer(-1)(last.features, ws[-1]) * self.output_scale
        return image
