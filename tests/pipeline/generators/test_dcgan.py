"""DCGAN against the layers of the PyTorch example, as torch's own modules compute them."""

import pytest
import torch
from torch import nn

from pipeline.errors import WeightsError
from pipeline.generators.dcgan import DCGAN
from tests.pipeline.generators.tiny_states import dcgan


def example(nz: int, widths: list[int], nc: int) -> nn.Module:
    """The example's netG: its layers sit in `main`."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip([nz, *widths], widths, strict=False)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers += [
            nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    layers += [nn.ConvTranspose2d(widths[-1], nc, 4, 2, 1, bias=False), nn.Tanh()]
    net = nn.Module()
    net.main = nn.Sequential(*layers)
    return net


@pytest.mark.parametrize("colours", [3, 1])
def test_images_equal_the_example(colours: int) -> None:
    state = dcgan(colours)
    reference = example(10, [8, 6, 4], colours)
    reference.load_state_dict(state)
    network = DCGAN.from_state_dict(state)
    assert (network.resolution, network.z_dim, network.w_dim, network.num_ws) == (32, 10, 10, 1)
    z = torch.randn(3, 10)
    expected = reference.eval().main(z[:, :, None, None])
    torch.testing.assert_close(network.synthesize(network.map(z)), expected.expand(-1, 3, -1, -1))


def test_the_example_s_size() -> None:
    network = DCGAN.from_state_dict(example(100, [512, 256, 128, 64], 3).state_dict())
    assert (network.resolution, network.z_dim, network.num_layers) == (64, 100, 4)


def test_other_numbers_of_colours_are_refused() -> None:
    with pytest.raises(WeightsError, match="2 channels instead of 1 or 3"):
        DCGAN.from_state_dict(dcgan(2))
