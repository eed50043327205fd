"""How many bytes a rendering and its gradient take, found without computing anything: on PyTorch's meta device."""

import copy
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.generators.layered import LayeredGenerator
from pipeline.perceptual import PerceptualNet

N = TypeVar("N", bound=nn.Module)

PIXEL_BYTES = 6000  # of a gradient step, where it is not counted
RENDERED_BYTES = 1500  # of a rendering alone


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are alive; `peak` is the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[int, int] = {}
        self.peak: int = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and take note of what it made."""
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self.live:
                    self.live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, storage._cdata, 0)
                    self.peak = max(self.peak, sum(self.live.values()))
        return result


def without_numbers(network: N) -> N:
    """A copy on the meta device, which takes no memory."""
    memo = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    copied = copy.deepcopy(network, memo | {id(b): b.to("meta") for b in network.buffers()})
    return copied.to("meta")


def step_bytes(network: LayeredGenerator, perceptual: PerceptualNet) -> int:
    """Bytes of one image's rendering, distance and gradient at once, in float32, beside the networks."""

    def step(generator: LayeredGenerator, net: PerceptualNet) -> None:
        target = net.target(torch.zeros(1, 3, network.resolution, network.resolution, device="meta"))
        w = latent(generator)
        torch.autograd.grad(net.distance(generator.synthesize(w), target).sum(), w)

    return peak_bytes(step, network, perceptual) or PIXEL_BYTES * network.resolution**2


def render_bytes(network: LayeredGenerator) -> int:
    """Bytes of rendering one image, in float32, beside the network."""

    def render(generator: LayeredGenerator) -> None:
        with torch.no_grad():
            generator.synthesize(latent(generator))

    return peak_bytes(render, network) or RENDERED_BYTES * network.resolution**2


def latent(generator: LayeredGenerator) -> Tensor:
    """A w+ [1, num_ws, w_dim] without numbers, of which gradients may be taken."""
    return torch.zeros(1, generator.num_ws, generator.w_dim, device="meta", requires_grad=True)


def peak_bytes(action: Callable[..., None], *networks: nn.Module) -> int | None:
    """Peak of an action on copies of networks without numbers; None where it needs numbers to go on."""
    copies = [without_numbers(network) for network in networks]
    try:
        with torch.enable_grad(), LiveBytes() as counted:
            action(*copies)
    except (RuntimeError, ValueError, AssertionError):  # whichever way a network's code asks for a number
        return None
    return max(1, int(counted.peak))
