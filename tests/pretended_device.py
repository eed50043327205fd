"""A GPU that is pretended on CPU memory: shows where code would mix devices, on machines that have no GPU.

Within `pretended_cuda`, `.to("cuda")` and `device="cuda"` mark tensors as lying on `cuda:0`, and what is computed
from marked tensors is marked. What PyTorch refuses on a real card is refused here: an operation on a marked tensor
and one in ordinary memory (but for single numbers, and for indices), `.numpy()`, a CPU random generator for draws
on the card. Arithmetic, autograd and autocast are the CPU's. It proves placement; it says nothing of speed, memory,
streams, or kernels that exist on one kind of device only.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CARD = torch.device("cuda", 0)
FREE, TOTAL, OF_ONE_IMAGE = 6 << 30, 8 << 30, 1 << 28  # bytes that the card claims to have, and that an image takes
MARK = "_pretended"

SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]

# What takes tensors of both kinds: copies from device to device, and what looks at a tensor from outside.
ACROSS: set[Any] = {
    Tensor.copy_,
    SET_DATA,
    torch.autograd.backward,
    torch._has_compatible_shallow_copy_type,
}
OUTSIDE: set[Any] = {Tensor.shape, Tensor.dtype, Tensor.requires_grad, Tensor.ndim, Tensor.layout, Tensor.grad_fn}
OF_THE_FIRST: set[Any] = {Tensor.__deepcopy__, Tensor.expand_as, Tensor.view_as, Tensor.reshape_as}  # and a form
TO_NUMPY = {Tensor.numpy, Tensor.__array__}


def on_card(value: object) -> bool:
    """Whether a tensor is marked."""
    return isinstance(value, Tensor) and MARK in value.__dict__


def mark(values: Any) -> Any:
    """Mark every tensor in a result."""
    for tensor in tensors(values):
        tensor.__dict__[MARK] = True
    return values


def unmark(values: Any) -> Any:
    """Take every mark away again."""
    for tensor in tensors(values):
        tensor.__dict__.pop(MARK, None)
    return values


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments or results."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)


def refused(function: Any, there: list[Tensor], here: list[Tensor]) -> RuntimeError:
    """What PyTorch says of tensors on different devices."""
    name, shapes = (
        getattr(function, "__name__", function),
        [[list(t.shape) for t in group] for group in (there, here)],
    )
    return RuntimeError(
        f"Expected all tensors to be on the same device, but {name} has {shapes[0]} on {CARD} and "
        f"{shapes[1]} on cpu"
    )


@dataclass
class Card:
    """How many calls gave something on the card."""

    calls: int = 0


class Placement(TorchFunctionMode):
    """Sees every call of PyTorch from Python, marks results and refuses mixtures."""

    def __init__(self, card: Card):
        super().__init__()
        self.card = card

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, owner, name = kwargs or {}, getattr(func, "__self__", None), getattr(func, "__name__", "")
        if owner in OUTSIDE:
            return func(*args, **kwargs)
        if name == "__get__" and owner in GETTERS:
            return GETTERS[owner](args[0]) if on_card(args[0]) else func(*args, **kwargs)
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type_as):
            return moved(func, args, kwargs)
        given = list(tensors([args[:1] if func in OF_THE_FIRST else args, kwargs]))
        there, here = [t for t in given if on_card(t)], [t for t in given if not on_card(t) and dim(t)]
        device = kwargs.get("device")
        asked = None if device is None else torch.device(device).type
        if asked == "cuda":
            kwargs = {**kwargs, "device": "cpu"}
        if (asked == "cuda" or (there and asked is None)) and kwargs.get("generator") is not None:
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu', in {name}")
        if there and func in TO_NUMPY:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it")
        if func in (Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put_):
            check_index(func, *args)
        elif func in (torch.tensor, torch.as_tensor, torch.asarray):
            copied = func(*args, **kwargs)  # from anywhere
            return place(copied, args[0], asked == "cuda" or (asked is None and on_card(args[0])))
        elif there and here and func not in ACROSS:
            raise refused(func, there, here)
        result = func(*args, **kwargs)
        if func == SET_DATA:
            (mark if on_card(args[1]) else unmark)(args[0])
        elif func is Tensor.copy_ or (func is Tensor.__setitem__):
            pass  # the one written to stays where it is
        elif asked == "cuda" or (there and asked is None):
            self.card.calls += 1
            mark(result)
        return result


def dim(tensor: Tensor) -> int:
    """Number of dimensions, asked so that no mode sees it."""
    with torch._C.DisableTorchFunction():
        return tensor.dim()


def place(result: Tensor, source: object, there: bool) -> Tensor:
    """A result as another tensor than its source, on the card or in ordinary memory."""
    if there == on_card(result):
        return result
    if result is source or isinstance(source, Tensor):
        result = result.clone()
    return mark(result) if there else unmark(result)  # type: ignore[no-any-return]


def moved(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """`.to`, `.cpu()`, `.cuda()`: another tensor if it changes places."""
    tensor = args[0]
    there = {Tensor.cpu: False, Tensor.cuda: True}.get(func, on_card(tensor))
    if func is Tensor.cuda:
        return place(tensor, tensor, there)
    changed = []
    for value in args[1:]:
        if isinstance(value, Tensor):
            there = on_card(value)
        elif isinstance(value, str | torch.device):
            there = torch.device(value).type == "cuda"
            value = "cpu" if there else value
        changed.append(value)
    if isinstance(other := kwargs.get("other"), Tensor):
        there = on_card(other)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == "cuda"
        kwargs = {**kwargs, "device": "cpu"} if there else kwargs
    result = func(tensor, *changed, **kwargs)
    if result is not tensor and on_card(tensor):
        mark(result)
    return place(result, tensor, there)


def check_index(func: Callable[..., Any], owner: Tensor, index: Any, value: Any = None, *rest: Any) -> None:
    """Indices may lie in ordinary memory; what is put to such places may not, and slices are copied across."""
    indices = list(tensors([index]))
    if not on_card(owner) and any(on_card(i) for i in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    parts = index if isinstance(index, tuple) else (index,)
    by_places = func is Tensor.index_put_ or any(isinstance(part, Tensor | list) for part in parts)
    if by_places and isinstance(value, Tensor) and on_card(owner) != on_card(value) and dim(value):
        raise refused(func, *(([owner], [value]) if on_card(owner) else ([value], [owner])))


GETTERS: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.device: lambda tensor: CARD,
    Tensor.is_cuda: lambda tensor: True,
    Tensor.is_cpu: lambda tensor: False,
}


@contextmanager
def pretended_cuda() -> Iterator[Card]:
    """Make `cuda` a device that checks placement, in this thread and in those that are started from it."""
    card = Card()
    new_parameter, begin_autocast, run_thread = nn.Parameter.__new__, torch.autocast.__init__, threading.Thread.run

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = new_parameter(cls, data, requires_grad)
        return mark(made) if on_card(data) else made

    def autocast(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        begin_autocast(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    def run(self: threading.Thread) -> None:
        with Placement(card):
            run_thread(self)

    cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "pretended",
        "get_device_capability": lambda device=None: (8, 0),
        "is_bf16_supported": lambda *args, **kwargs: True,
        "mem_get_info": lambda device=None: (FREE, TOTAL),
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: OF_ONE_IMAGE,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
    }
    with ExitStack() as stack:
        for name, function in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        stack.enter_context(patch.object(nn.Parameter, "__new__", staticmethod(parameter)))
        stack.enter_context(patch.object(torch.autocast, "__init__", autocast))
        stack.enter_context(patch.object(threading.Thread, "run", run))
        stack.enter_context(Placement(card))
        yield card
