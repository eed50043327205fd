"""What every encoder offers to the stages."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """A network from images to w+ of one generator, which corrects the w+ that it is given.

    Attributes:
        num_ws, w_dim: sizes of w+.
        space: `w` where every layer gets the same w, `w+` where each has its own.
        sees_rendering: whether `forward` looks at what the present w+ renders as.
    """

    settings: ClassVar[tuple[str, ...]] = ()  # what a manifest may set beside the weights
    num_ws: int
    w_dim: int
    space: str
    sees_rendering: bool

    @classmethod
    @abstractmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], num_ws: int, **settings: Any) -> Self:
        """Build the encoder whose sizes the tensors tell. Raises WeightsError if they are something else's."""

    @abstractmethod
    def start(self, batch: int) -> Tensor:
        """The w+ before the first pass, [batch, num_ws, w_dim]."""

    @abstractmethod
    def forward(self, images: Tensor, rendered: Tensor, w: Tensor) -> Tensor:
        """Correct w+ [B, num_ws, w_dim] for images [B, 3, H, W] in [-1, 1], of the generator's size.

        `rendered` [B, 3, H, W], not clipped, is what w renders as; where `sees_rendering` is false it is not read.
        """
