"""What a step takes, counted without numbers, is what it takes with them."""

import pytest
import torch
from torch import Tensor

from pipeline.footprint import LiveBytes, render_bytes, step_bytes
from pipeline.generators.dcgan import DCGAN
from pipeline.perceptual.small import SmallPerceptual
from tests.pipeline.generators.tiny_states import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_counted_without_numbers(family: str) -> None:
    kind, state = FAMILIES[family]
    network = kind.from_state_dict(state())
    net = SmallPerceptual((4, 4, 4))
    w = torch.zeros(1, network.num_ws, network.w_dim, requires_grad=True)
    with LiveBytes() as counted:
        target = net.target(torch.zeros(1, 3, network.resolution, network.resolution))
        torch.autograd.grad(net.distance(network.synthesize(w), target).sum(), w)
    assert step_bytes(network, net) == pytest.approx(counted.peak, rel=0.02)
    assert 0 < render_bytes(network) < step_bytes(network, net)
    assert network.device.type == "cpu"  # the copy has no numbers, the network still has its own


def test_a_network_that_needs_numbers_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    def asking(network: DCGAN, w: Tensor) -> Tensor:
        return w if float(w.sum()) > 0 else -w

    network = DCGAN.from_state_dict(FAMILIES["dcgan"][1]())
    monkeypatch.setattr(DCGAN, "synthesize", asking)
    assert render_bytes(network) == 1500 * network.resolution**2
