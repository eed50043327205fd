"""LPIPS on VGG-16, with torchvision's weights where torch keeps them and the `lpips` package's linear layers."""

import hashlib
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.files import user_path
from pipeline.perceptual.base import Features, PerceptualNet

FILE = "vgg16-397923af.pth"
URL = f"https://download.pytorch.org/models/{FILE}"
# torchvision's numbering of the 13 convolutions, with the channels each gives; LPIPS compares the layers in
# COMPARED, Algorithm 1 of AdvMix those after conv1_2, conv2_2 and conv3_2.
CONVS = {
    0: 64,
    2: 64,
    5: 128,
    7: 128,
    10: 256,
    12: 256,
    14: 256,
    17: 512,
    19: 512,
    21: 512,
    24: 512,
    26: 512,
    28: 512,
}
COMPARED = (2, 7, 14, 21, 28)
ALGORITHM_1 = (2, 7, 12)
POOL_BEFORE = (5, 10, 17, 24)


class VGG16Perceptual(PerceptualNet):
    """LPIPS v0.1 with the VGG-16 trunk; equals `lpips.LPIPS(net="vgg")` up to 256x256."""

    coarse = True

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__(tuple(CONVS[i] for i in COMPARED))
        channels = 3
        for i, out in CONVS.items():
            self.register_buffer(f"weight{i}", torch.zeros(out, channels, 3, 3))
            self.register_buffer(f"bias{i}", torch.zeros(out))
            channels = out
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])

    @classmethod
    def from_files(cls, backbone: Path | None = None, *, check_digest: bool = True) -> Self:
        """Load torchvision's VGG-16 file and the linear weights that the `lpips` wheel carries.

        Raises:
            WeightsError: the file is missing or not the official one.
        """
        path = backbone or weights_path()
        if not path.is_file():
            raise WeightsError(
                f"the VGG-16 weights are not at {path}: download {URL} and put it there "
                f"(or point TORCH_HOME at a folder with hub/checkpoints/{FILE})"
            )
        if check_digest:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith("397923af"):
                raise WeightsError(f"{path} is not the official file (sha256 {digest}): download {URL} again")
        state = load_tensors(path)
        net = cls()
        for i in CONVS:
            net.get_buffer(f"weight{i}").copy_(state[f"features.{i}.weight"])
            net.get_buffer(f"bias{i}").copy_(state[f"features.{i}.bias"])
        linear = load_tensors(linear_weights_path())
        for i in range(len(COMPARED)):
            net.get_buffer(f"lin{i}").copy_(linear[f"lin{i}.model.1.weight"].flatten())
        return net

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Load weights under this class's own names. Raises WeightsError if they are something else's."""
        net = cls()
        try:
            net.load_state_dict(dict(state))
        except RuntimeError as error:
            raise WeightsError(f"these are not the weights of a VGG-16 in LPIPS form: {error}") from error
        return net

    def compared(self, images: Tensor) -> Features:
        """Features after conv1_2, conv2_2 and conv3_2."""
        return self.run(images, ALGORITHM_1)

    def trunk(self, images: Tensor) -> Features:
        """Features after relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3."""
        return self.run(images, COMPARED)

    def run(self, images: Tensor, wanted: tuple[int, ...]) -> Features:
        """Run the trunk up to the last of the `wanted` convolutions and return the features after each."""
        x = (images - self.shift) / self.scale
        features = []
        for i in CONVS:
            if i in POOL_BEFORE:
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}"), padding=1))
            if i in wanted:
                features.append(x)
            if i == wanted[-1]:
                break
        return features


def weights_path() -> Path:
    """Where torch keeps downloaded checkpoints."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return user_path(home) / "hub" / "checkpoints" / FILE


def linear_weights_path() -> Path:
    """The linear weights inside the installed `lpips` package, found without importing it."""
    spec = find_spec("lpips")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / "vgg.pth"


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running anything in it. Raises WeightsError if it holds anything else."""
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as a state dict: {error}") from error
    return state
