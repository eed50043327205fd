"""Builds a network whose weights are about to be loaded: only names and shapes, no memory, no random numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLS = {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_, Tensor.fill_}


class _NoFilling(TorchFunctionMode):
    """Skips what would fill a tensor; on the meta device that computes nothing, but imports 1.5 s of torch."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func in FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def blank_network() -> Iterator[None]:
    """Within it, modules are built on the meta device and stay without values."""
    with torch.device("meta"), _NoFilling():
        yield
