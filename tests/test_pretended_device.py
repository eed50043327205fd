"""The pretended GPU refuses what PyTorch refuses on a real one, and lets through the rest."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.pretended_device import CARD, pretended_cuda

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def pretended() -> Iterator[None]:
    with pretended_cuda():
        yield
    assert torch.zeros(1).device == CPU


@pytest.fixture
def there() -> Tensor:
    return torch.ones(3, 4, device="cuda")


@pytest.fixture
def here() -> Tensor:
    return torch.ones(3, 4)


MIXTURES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda a, b: a + b,
    "sum, the other way round": lambda a, b: b + a,
    "product": lambda a, b: a @ b.T,
    "in place": lambda a, b: a.add_(b),
    "condition": lambda a, b: torch.where(b > 0, a, a),
    "list": lambda a, b: torch.cat([a, b]),
    "layer": lambda a, b: F.linear(a, b),
    "einsum": lambda a, b: torch.einsum("ab,cb->ac", a, b),
    "comparison": lambda a, b: torch.equal(a, b),
    "single number there": lambda a, b: a.sum() * b,
    "put to places": lambda a, b: a.__setitem__(torch.tensor([0, 1]), b[:2]),
    "gather": lambda a, b: a.gather(0, b.long()),
    "index there, tensor here": lambda a, b: b[torch.tensor([0], device="cuda")],
    "generator": lambda a, b: torch.randn(3, device="cuda", generator=torch.Generator()),
    "generator in place": lambda a, b: a.normal_(generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_are_refused(name: str, there: Tensor, here: Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"same device|device type for generator"):
        MIXTURES[name](there, here)


def test_there_is_no_way_to_numpy_but_over_the_cpu(there: Tensor) -> None:
    for attempt in (there.numpy, lambda: np.asarray(there), lambda: np.ones(3)[there[0] > 5]):
        with pytest.raises(TypeError, match=r"can't convert cuda:0"):
            attempt()
    assert there.cpu().numpy().sum() == 12
    assert there.is_cuda


def test_what_a_real_card_lets_through(there: Tensor, here: Tensor) -> None:
    assert (there * torch.tensor(2.0)).device == CARD
    assert there[torch.tensor([0, 2])].device == there[here > 0].device == CARD
    there[0], here[1] = here[0], there[1]
    there[torch.tensor([0])] = torch.tensor(3.0)
    assert (there.device, here.device) == (CARD, CPU)
    assert there.tolist()[0] == [3.0] * 4
    assert float(there.sum()) == 20
    assert here.copy_(there).device == CPU


def test_moving_makes_another_tensor(there: Tensor, here: Tensor) -> None:
    moved = [
        here.to("cuda"),
        here.cuda(),
        here.to(there),
        here.to(CARD, torch.float64),
        torch.as_tensor(here, device=CARD),
    ]
    assert {tensor.device for tensor in moved} == {CARD}
    assert here.device == CPU
    assert {there.cpu().device, there.to("cpu").device, there.to(here).device} == {CPU}
    assert {there.device, there.double().device, there.to("cuda").device} == {CARD}
    assert there.to("cuda") is there
    assert there.new_zeros(2).device == torch.zeros_like(there).device == CARD
    assert torch.zeros_like(there, device="cpu").device == CPU


def test_networks_gradients_and_optimisers(here: Tensor) -> None:
    network = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    assert network.to("cuda") is network
    for net in (network, copy.deepcopy(network)):
        assert {tensor.device for tensor in net.state_dict().values()} == {CARD}
        with pytest.raises(RuntimeError, match="same device"):
            net(here)
        optimizer = torch.optim.Adam(net.parameters())
        net(here.to("cuda")).square().sum().backward()
        assert {p.grad.device for p in net.parameters() if p.grad is not None} == {CARD}
        optimizer.step()
    w = here.to("cuda").requires_grad_(True)
    assert torch.autograd.grad(network(w).sum(), w)[0].device == CARD
    network.load_state_dict({name: tensor.cpu() for name, tensor in network.state_dict().items()})
    assert next(network.parameters()).device == CARD
    with torch.autocast("cuda", torch.bfloat16):
        assert network[0](w).dtype == torch.bfloat16
    assert {tensor.device for tensor in network.cpu().state_dict().values()} == {CPU}


def test_other_threads_are_watched(there: Tensor, here: Tensor) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: here.to("cuda").device).result() == CARD
        with pytest.raises(RuntimeError, match="same device"):
            pool.submit(lambda: there + here).result()
