"""What every generator offers to the stages."""

from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

NoiseMode = Literal["const", "none", "random"]


@dataclass(frozen=True)
class Activations:
    """What a generator carries from one layer to the next.

    Attributes:
        features: output of the layer [B, C, H, W].
        rgb: what a connection carries past the layer, if the network has one: in StyleGAN2 the image that the
            coarser resolutions have painted so far [B, 3, H', W'], or in its "resnet" architecture what will be
            added to the features [B, C, H, W]. It does not depend on `features`, which are painted on resuming.
    """

    features: Tensor
    rgb: Tensor | None = None


@runtime_checkable
class Generator(Protocol):
    """`map` takes z to one w per layer, `synthesize` takes those to an image, stopping between layers if asked.

    Attributes:
        resolution: height and width of the images.
        z_dim, w_dim: lengths of z and of a w. Networks without a mapping take (parts of) z and of the class
            embedding as w; each family's `map` says which.
        c_dim: length of a label vector, one-hot or probabilities; 0 for networks without labels.
        num_ws: w's of an image; one where all layers hang on a single input.
        num_layers: places 0, 1, … num_layers - 1 where `activations` can stop.
    """

    resolution: int
    z_dim: int
    w_dim: int
    c_dim: int
    num_ws: int
    num_layers: int

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where z, c and w must be."""
        ...

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [B, z_dim] (and labels c [B, c_dim]) to w+ [B, num_ws, w_dim]."""
        ...

    def synthesize(self, w: Tensor, noise: NoiseMode = "const") -> Tensor:
        """Render w+ [B, num_ws, w_dim] as images [B, 3, H, W], about [-1, 1], not clipped."""
        ...

    def activations(self, w: Tensor, layer: int, noise: NoiseMode = "const") -> Activations:
        """Render w+ as far as `layer`. Raises ValueError where there is no such layer."""
        ...

    def resume(self, activations: Activations, w: Tensor, layer: int, noise: NoiseMode = "const") -> Tensor:
        """Render the rest of an image from what `activations(…, layer)` gave."""
        ...

    def layer_resolution(self, layer: int) -> int:
        """Height and width of the features after `layer`. Raises ValueError where there is no such layer."""
        ...

    def set_precision(self, dtype: torch.dtype, num_fp16_res: int = 4) -> Self:
        """Compute the finest `num_fp16_res` resolutions in `dtype` (bfloat16 or float16, on a GPU)."""
        ...
