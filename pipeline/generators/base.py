"""What every generator offers to the stages."""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

NoiseMode = Literal["const", "none", "random"]


@runtime_checkable
class Generator(Protocol):
    """A style-based generator: `map` takes z to one w per layer, `synthesize` takes those to an image."""

    resolution: int
    z_dim: int
    w_dim: int
    c_dim: int
    num_ws: int

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
