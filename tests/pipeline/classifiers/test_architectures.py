"""The classifiers' sizes, and what they refuse."""

import pytest
import torch

from pipeline.classifiers.architectures import ARCHITECTURES, build_network
from pipeline.classifiers.base import Standardised
from pipeline.errors import PipelineError


@pytest.mark.parametrize(
    ("architecture", "width", "layers"), [("vgg5", 4, 6), ("vgg16", 2, 16), ("wideresnet", 1, 26), ("linear", 0, 1)]
)
def test_layers_and_logits(architecture: str, width: int, layers: int) -> None:
    network = build_network(architecture, 7, 32, width).eval()
    weighty = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    shortcuts = [m for m in weighty if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(weighty) - len(shortcuts) == layers
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    logits = network(images)
    assert logits.shape == (3, 7)
    torch.testing.assert_close(network(images[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)


def test_own_widths_are_the_papers() -> None:
    wide = build_network("wideresnet", 10, 32)
    assert 36e6 < sum(p.numel() for p in wide.parameters()) < 37e6  # WRN-28-10 has 36.5 M
    assert ARCHITECTURES["vgg16"].width * 8 == 512


def test_an_input_size_averages_larger_images_down() -> None:
    network = build_network("linear", 2, 32, input_size=16)
    images = torch.rand(2, 3, 32, 32)
    small = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(network(images), network(small))


def test_standardised_undoes_the_range() -> None:
    seen = Standardised(torch.nn.Identity(), (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))(torch.zeros(1, 3, 1, 1))
    torch.testing.assert_close(seen.flatten(), torch.tensor([0.0, 0.5, 2 / 3]))


@pytest.mark.parametrize(
    ("architecture", "resolution", "input_size", "words"),
    [
        ("vgg17", 32, 0, "known are vgg5, vgg16, wideresnet, linear"),
        ("vgg16", 16, 0, "vgg16 takes images from 32x32 up"),
        ("vgg5", 32, 64, "larger than the images"),
        ("vgg5", 32, 8, "vgg5 takes images from 16x16 up"),
    ],
)
def test_what_is_refused(architecture: str, resolution: int, input_size: int, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        build_network(architecture, 10, resolution, input_size=input_size)
