"""The small perceptual net is a distance in LPIPS form."""

import torch

from pipeline.perceptual import load_perceptual
from tests.conftest import Tiny


def test_distance_is_zero_to_itself_and_grows(tiny: Tiny) -> None:
    net = load_perceptual(str(tiny.perceptual))
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 32, 32, generator=rng) * 2 - 1
    target = net.target(images)
    noise = torch.randn(images.shape, generator=rng)
    near, far = (net.distance(images + scale * noise, target) for scale in (0.05, 0.5))
    assert (net.distance(images, target) <= 1e-6 * far).all()
    assert (near > 0).all()
    assert (far > near).all()


def test_a_sample_does_not_depend_on_its_neighbours(tiny: Tiny) -> None:
    net = load_perceptual(str(tiny.perceptual))
    images, others = torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target = net.target(others)
    whole = net.distance(images, target)
    part = net.distance(images[2:4], target.rows(torch.tensor([2, 3])))
    torch.testing.assert_close(whole[2:4], part)
