"""A generator as a row of layers, which one can stop after and resume from; and how its weights are loaded."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from pipeline.devices import channels_last
from pipeline.errors import WeightsError
from pipeline.generators.base import Activations, NoiseMode
from pipeline.generators.blank import blank_network
from pipeline.generators.layers import truncate

State = Mapping[str, Tensor]


class LayeredGenerator(nn.Module):
    """Base of all families: they say what a layer is, and get `synthesize`, `activations` and `resume`."""

    title: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ()  # what a manifest may set beside the weights: constructor arguments
    resolution: int
    z_dim: int
    w_dim: int
    c_dim: int
    num_ws: int
    num_layers: int

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.num_fp16_res = 0

    # What a family must say.

    @abstractmethod
    def begin(self, ws: Sequence[Tensor], noise: NoiseMode) -> Activations:
        """Compute layer 0 under w+ as num_ws tensors [B, w_dim]."""

    @abstractmethod
    def advance(self, before: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Activations:
        """Compute `layer`, 1 or higher, from what the layer before gave."""

    @abstractmethod
    def paint(self, last: Activations, ws: Sequence[Tensor]) -> Tensor:
        """Turn the last layer's output into images [B, 3, H, W]."""

    @abstractmethod
    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`."""

    def style_resolution(self, index: int) -> int:
        """Resolution of what w number `index` styles; here, two w's each for 4, 8, 16, …"""
        return 4 << index // 2

    def styles(self, index: int) -> list[nn.Module]:
        """Affine maps of w number `index`, [B, w_dim] to [B, C], to scales and shifts; some families have none."""
        return []

    @classmethod
    @abstractmethod
    def sizes_of_state(cls, state: State) -> dict[str, Any]:
        """Read the constructor's sizes off a prepared state dict. Raises KeyError where a key is missing."""

    @classmethod
    def prepare_state(cls, state: State) -> State:
        """Turn a file's tensors into those of the network: drop what is not used, fold what is constant."""
        return state

    # What all have in common.

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def synthesize(self, w: Tensor, noise: NoiseMode = "const") -> Tensor:
        """Render w+ [B, num_ws, w_dim] as images [B, 3, H, W], about [-1, 1], not clipped."""
        ws = w.unbind(dim=1)
        return self.rest(self.begin(ws, noise), ws, 0, noise)

    def activations(self, w: Tensor, layer: int, noise: NoiseMode = "const") -> Activations:
        """Render w+ [B, num_ws, w_dim] as far as `layer`, 0 <= layer < num_layers.

        Raises:
            ValueError: there is no such layer.
        """
        self.check_layer(layer)
        ws = w.unbind(dim=1)
        reached = self.begin(ws, noise)
        for following in range(1, layer + 1):
            reached = self.advance(reached, ws, following, noise)
        return reached

    def resume(self, activations: Activations, w: Tensor, layer: int, noise: NoiseMode = "const") -> Tensor:
        """Render the rest of the images [B, 3, H, W] from the output of `layer`.

        With the activations of the same w this repeats `synthesize(w)` but for rounding; of w, only the parts
        that later layers read matter.

        Raises:
            ValueError: there is no such layer.
        """
        self.check_layer(layer)
        return self.rest(activations, w.unbind(dim=1), layer, noise)

    def rest(self, reached: Activations, ws: Sequence[Tensor], layer: int, noise: NoiseMode) -> Tensor:
        """Compute all that comes after `layer`."""
        for following in range(layer + 1, self.num_layers):
            reached = self.advance(reached, ws, following, noise)
        return self.paint(reached, ws)

    def check_layer(self, layer: int) -> None:
        """Raise ValueError unless the network can stop after `layer`."""
        if not 0 <= layer < self.num_layers:
            raise ValueError(f"layer {layer}: this generator can stop after layers 0 to {self.num_layers - 1}")

    def set_precision(self, dtype: torch.dtype, num_fp16_res: int = 4) -> Self:
        """Compute the finest `num_fp16_res` resolutions in `dtype` (bfloat16 or float16, on a GPU)."""
        self.dtype, self.num_fp16_res = dtype, num_fp16_res
        return self

    def dtype_at(self, resolution: int) -> torch.dtype:
        """Precision of the layers of a resolution."""
        return self.dtype if resolution << self.num_fp16_res > self.resolution else torch.float32

    def autocast(self, resolution: int) -> AbstractContextManager[None]:
        """Compute convolutions and products in the precision of a resolution, sums and statistics in fp32."""
        dtype = self.dtype_at(resolution)
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)

    def forward(self, z: Tensor, c: Tensor | None = None, noise: NoiseMode = "random") -> Tensor:
        """Render z [B, z_dim]: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, c), noise)

    @abstractmethod
    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] (and labels c [B, c_dim]) to w+ [B, num_ws, w_dim]."""

    @classmethod
    def from_state_dict(cls, state: State, **settings: Any) -> Self:
        """Build the network whose sizes the tensors of `state` tell, load them, and freeze it.

        Args:
            state: tensors under the keys that the family's module describes; they are copied.
            settings: what the tensors do not tell, each one of the family's `settings`; None leaves it out.

        Raises:
            WeightsError: a key is missing, unknown or of the wrong shape; a setting is not the family's.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        for name in given.keys() - set(cls.settings):
            raise WeightsError(f"{name} = {given[name]}: a {cls.title} has none; take it out of the manifest")
        return cls.load(state, **given)

    @classmethod
    def load(cls, state: State, **options: Any) -> Self:
        """Do what `from_state_dict` says, with further arguments for the constructor."""
        try:
            state = cls.prepare_state(state)
            with blank_network():
                network = cls(**cls.sizes_of_state(state), **options)
            problem = mismatch(network, state)
        except KeyError as error:
            problem = f"'{error.args[0]}' is missing"
        except IndexError:
            problem = "a weight has fewer dimensions than it should"
        except (RuntimeError, ValueError) as error:
            problem = " ".join(str(error).split())
        if problem:
            raise WeightsError(f"these weights are not a {cls.title} generator: {problem}")
        network.load_state_dict({key: private_copy(tensor) for key, tensor in state.items()}, assign=True)
        channels_last(network.eval().requires_grad_(False))
        network.arrange()
        return network

    def arrange(self) -> None:
        """Lay weights out in memory as they are read, where that is not channels last."""


class StyleGenerator(LayeredGenerator):
    """Base of the families with a mapping network, whose w all layers share unless they are given their own."""

    @property
    @abstractmethod
    def mean_w(self) -> Tensor:
        """The mean of w [w_dim], which truncation moves to."""

    @abstractmethod
    def mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Map z [B, z_dim] (and labels c [B, c_dim]) to w [B, w_dim], or to one for each layer."""

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] (and labels c [B, c_dim]) to w+ [B, num_ws, w_dim].

        Truncation moves the first `truncation_cutoff` layers (all, if None) to mean_w + psi * (w - mean_w).
        """
        return truncate(self.mapped(z, c), self.mean_w, truncation_psi, truncation_cutoff, self.num_ws)


def private_copy(tensor: Tensor) -> Tensor:
    """Copy a tensor, as fp32 and convolution weights in the fast order, so that the caller's stays its own."""
    order = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype=dtype, memory_format=order, copy=True)


def mismatch(network: nn.Module, state: State) -> str:
    """Say how `state` differs from what the network wants, or nothing."""
    expected = network.state_dict()
    shapes = [
        f"'{key}' is {list(state[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    for keys, complaint in (
        ([f"'{key}'" for key in expected if key not in state], "missing: "),
        ([f"'{key}'" for key in state if key not in expected], "unknown: "),
        (shapes, ""),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            return complaint + ", ".join(keys[:3]) + more
    return ""
