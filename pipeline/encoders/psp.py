"""The encoders of the pSp framework: pSp, e4e and ReStyle over either, which see images of 256x256.

pSp (Richardson et al. 2021) and e4e (Tov et al. 2021) say once how w+ differs from the mean w. ReStyle (Alaluf et
al. 2021) looks at the image and at what its present w+ renders, and corrects that a few times.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.devices import channels_last
from pipeline.encoders.backbones import backbone_of
from pipeline.encoders.base import ImageEncoder
from pipeline.encoders.heads import head_of
from pipeline.errors import WeightsError
from pipeline.generators.blank import blank_network
from pipeline.generators.layered import mismatch, private_copy

SIZE = 256  # width that the backbone sees
HEIGHTS = (256, 192)
RGB = 3


class PspEncoder(ImageEncoder):
    """A backbone, a head, and the w+ that the head's codes are added to.

    Args:
        state: tensors `backbone.*`, `head.*` and `start_w` [1 or num_ws, w_dim], which tell the sizes.
        progressive: the first code is the w of all layers, the others are what theirs differ by (e4e).
        height: rows that the backbone sees: 256, or 192 where an image's upper and lower eighth are bars (cars).
    """

    settings = ("progressive", "height")
    start_w: Tensor

    def __init__(self, state: Mapping[str, Tensor], num_ws: int, progressive: bool = False, height: int = SIZE):
        super().__init__()
        self.backbone = backbone_of(part(state, "backbone."))
        self.head = head_of(part(state, "head."), self.backbone.widths, progressive)
        if self.head.count not in (1, num_ws):
            raise ValueError(f"it finds {self.head.count} layers of w+, the generator has {num_ws}")
        if self.backbone.in_channels not in (RGB, 2 * RGB):
            raise ValueError(f"it takes images of {self.backbone.in_channels} channels instead of 3 or 6")
        if height not in HEIGHTS:
            raise ValueError(f"height = {height}: it is 256 or 192")
        self.height = height
        self.num_ws, self.w_dim = num_ws, self.head.w_dim
        self.space = "w" if self.head.count == 1 else "w+"
        self.sees_rendering = self.backbone.in_channels == 2 * RGB
        self.register_buffer("start_w", torch.empty(1 if state["start_w"].shape[0] == 1 else num_ws, self.w_dim))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], num_ws: int, **settings: Any) -> Self:
        """Build the encoder whose sizes the tensors tell. Raises WeightsError if they are something else's."""
        try:
            with blank_network():
                encoder = cls(state, num_ws, **settings)
            problem = mismatch(encoder, state)
        except KeyError as error:
            problem = f"'{error.args[0]}' is missing"
        except IndexError:
            problem = "a weight has fewer dimensions than it should"
        except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
            problem = " ".join(str(error).split())
        if problem:
            raise WeightsError(f"these weights are not an encoder of pSp's, e4e's or ReStyle's: {problem}")
        encoder.load_state_dict({key: private_copy(tensor) for key, tensor in state.items()}, assign=True)
        return channels_last(encoder.eval().requires_grad_(False))

    def start(self, batch: int) -> Tensor:
        """The w+ that codes are added to: the mean w, or zeros, [batch, num_ws, w_dim]."""
        return self.start_w.expand(batch, self.num_ws, -1)

    def forward(self, images: Tensor, rendered: Tensor, w: Tensor) -> Tensor:
        """Correct w+ [B, num_ws, w_dim] for images [B, 3, H, W] in [-1, 1], of the generator's size.

        `rendered` [B, 3, H, W], not clipped, is what w renders as; only ReStyle looks at it.
        """
        seen = self.shrink_image(images)
        if self.sees_rendering:
            seen = torch.cat([seen, self.shrink_rendering(rendered)], dim=1)
        codes: Tensor = self.head(self.backbone(seen))
        return w + codes

    def shrink_image(self, images: Tensor) -> Tensor:
        """Resize images as PIL's bilinear filter does, which these encoders were trained on."""
        images = self.without_bars(images)
        if images.shape[2:] == (self.height, SIZE):
            return images
        size = (self.height, SIZE)
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)

    def shrink_rendering(self, rendered: Tensor) -> Tensor:
        """Resize renderings by means over areas, as ReStyle does."""
        return F.adaptive_avg_pool2d(self.without_bars(rendered), (self.height, SIZE))

    def without_bars(self, images: Tensor) -> Tensor:
        """Cut the bars off above and below."""
        rows = images.shape[2]
        margin = rows * (SIZE - self.height) // (2 * SIZE)
        return images[:, :, margin : rows - margin]


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
