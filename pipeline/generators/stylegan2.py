"""StyleGAN2 (Karras et al. 2020) in plain PyTorch, with the state-dict keys of StyleGAN2-ADA."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.layered import State, StyleGenerator
from pipeline.generators.layers import (
    numbers,
)
from pipeline.generators.stylegan2_layers import LayerOptions, MappingNetwork, SynthesisLayer, SynthesisNetwork


class StyleGAN2(StyleGenerator):
    """The generator G.

    It can stop after each of its num_ws - 1 convolutions, w[l] being the style of layer l; the last w is read by
    the last ToRGB only. The ToRGB of a resolution runs when its second convolution is left behind, under the w of
    the next layer, so that the image always shows changed features.

    Args:
        resolution: output height and width, a power of two.
        channels: feature channels of every resolution from 4 to `resolution`.
        conv_clamp: bound on every convolution's output; official fp16 models use 256, None is no bound.
        activation, mapping_activation: what follows convolutions and mapping layers, one of
            `pipeline.generators.layers.ACTIVATIONS`.
        latent_norm: whether z and the label's embedding are scaled to unit mean square "each", "joint" or "none".
        architecture: how blocks join: "skip", "resnet" or "orig".
        layer_features, embed_features: widths of hidden mapping layers and of the label's embedding; w_dim if None.
        filter, rgb_filter: shapes of the filters that double features and RGB images.
    """

    title: ClassVar[str] = "StyleGAN2"
    settings: ClassVar[tuple[str, ...]] = ("conv_clamp", "activation", "mapping_activation", "latent_norm")

    def __init__(
        self,
        resolution: int,
        channels: Mapping[int, int],
        z_dim: int = 512,
        w_dim: int = 512,
        c_dim: int = 0,
        mapping_layers: int = 8,
        conv_clamp: float | None = None,
        activation: str = "lrelu",
        mapping_activation: str = "lrelu",
        latent_norm: str = "each",
        architecture: str = "skip",
        layer_features: int | None = None,
        embed_features: int | None = None,
        filter: tuple[int, ...] = (4, 4),
        rgb_filter: tuple[int, ...] = (4, 4),
    ):
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.c_dim = resolution, z_dim, w_dim, c_dim
        self.conv_clamp = conv_clamp
        self.mapping = MappingNetwork(
            z_dim,
            c_dim,
            w_dim,
            mapping_layers,
            layer_features=layer_features,
            embed_features=embed_features,
            activation=mapping_activation,
            latent_norm=latent_norm,
        )
        options = LayerOptions(architecture, activation, conv_clamp, filter, rgb_filter)
        self.synthesis = SynthesisNetwork(w_dim, channels, options)
        self.num_ws = 2 * len(channels)
        self.num_layers = self.num_ws - 1

    @classmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a StyleGAN2-ADA state dict. Raises KeyError where a key is missing."""
        resolutions = numbers(r"synthesis\.b(\d+)\.", state)
        if not resolutions:
            raise ValueError("no key begins with 'synthesis.b'")
        if resolutions != [4 << i for i in range(len(resolutions))]:
            raise ValueError(f"blocks of resolutions {resolutions} instead of 4, 8, 16, …")
        painted = {state[f"synthesis.b{r}.torgb.weight"].shape[0] for r in resolutions[-1:]}
        if painted != {3}:
            raise ValueError(f"it paints images of {painted.pop()} channels; only RGB is rendered")
        w_dim = state["mapping.w_avg"].shape[0]
        conditional = any(key.startswith("mapping.embed.") for key in state)
        embed_features, c_dim = state["mapping.embed.weight"].shape if conditional else (0, 0)
        layer_features, z_dim = state["mapping.fc0.weight"].shape
        up = "synthesis.b8.conv0.resample_filter"
        return {
            "resolution": resolutions[-1],
            "channels": {r: state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions},
            "z_dim": z_dim - embed_features,
            "w_dim": w_dim,
            "c_dim": c_dim,
            "mapping_layers": len(numbers(r"mapping\.fc(\d+)\.", state)),
            "architecture": architecture_of(state),
            "layer_features": layer_features,
            "embed_features": embed_features,
            "filter": tuple(state[up].shape) if up in state else (4, 4),
            "rgb_filter": tuple(state["synthesis.b4.resample_filter"].shape),
        }

    def arrange(self) -> None:
        """Lay the weights of up-convolutions out as they are read."""
        for module in self.modules():
            if isinstance(module, SynthesisLayer):
                module.arrange()

    @property
    def mean_w(self) -> Tensor:
        """The tracked mean of w [w_dim], which truncation moves to."""
        return self.mapping.w_avg

    def mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Run the mapping network."""
        w: Tensor = self.mapping(z, c)
        return w

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`: 4, 8, 8, 16, 16, …"""
        self.check_layer(layer)
        return block_of(layer)

    def styles(self, index: int) -> list[nn.Module]:
        """What turns w number `index` of w+ into scales of features: a convolution's and, of some, ToRGB's."""
        if index == self.num_layers:
            return [self.synthesis.block(self.resolution).torgb.affine]
        block = self.synthesis.block(block_of(index))
        if index % 2 == 0:
            return [block.conv1.affine]
        before = self.synthesis.block(block.resolution // 2)
        return [block.conv0.affine, *([before.torgb.affine] if before.paints else [])]

    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute the 4x4 convolution on the constant."""
        return Activations(self.synthesis.block(4).begin(ws[0], noise, self.dtype_at(4)))

    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute one convolution; an up-convolution leaves a block behind, which paints its RGB first."""
        resolution = block_of(layer)
        block = self.synthesis.block(resolution)
        x = before.features
        if layer % 2 == 0:
            features = block.conv1(x, ws[layer], noise)
            return Activations(features + before.rgb) if block.residual else Activations(features, before.rgb)
        rgb = self.synthesis.block(resolution // 2).paint(x, before.rgb, ws[layer])
        x = x.to(self.dtype_at(resolution))
        return Activations(block.conv0(x, ws[layer], noise), block.skip(x) if block.residual else rgb)

    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Paint the last block's RGB."""
        image = self.synthesis.block(self.resolution).paint(last.features, last.rgb, ws[-1])
        assert image is not None
        return image


def architecture_of(state: State) -> str:
    """Tell from the layers that a network has how its blocks join."""
    if any(key.endswith(".skip.weight") for key in state):
        return "resnet"
    outputs = len(numbers(r"synthesis\.b(\d+)\.torgb\.weight", state))
    return "orig" if outputs == 1 < len(numbers(r"synthesis\.b(\d+)\.", state)) else "skip"


def block_of(layer: int) -> int:
    """Resolution of a layer's block."""
    return 4 << (layer + 1) // 2
