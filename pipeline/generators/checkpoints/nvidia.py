"""Pickles of the StyleGAN2-ADA and StyleGAN3 repositories: modules saved with their source, which stays text."""

from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.records import Call
from pipeline.generators.checkpoints.tensors import Tensors, is_tensor

HOOK = "torch_utils.persistence._reconstruct_persistent_obj"
# A generator at 1024 x 1024 has about 100 modules, 5 deep.
MAX_MODULES = 5_000
MAX_DEPTH = 16
# What the arithmetic of `pipeline.generators.stylegan2` takes for granted.
EXPECTED = {"architecture": "skip", "activation": "lrelu"}


def is_module(record: object) -> bool:
    """Tell whether a record stands for a network."""
    return isinstance(record, Call) and record.function == HOOK


def read_module(record: object) -> tuple[dict[str, Tensor], float | None]:
    """Return the state dict of a pickled generator, bit for bit, and its `conv_clamp`.

    Raises:
        CheckpointError: it is damaged, or a network of another architecture.
    """
    walk = Walk()
    walk.visit(record, "", 0)
    return walk.state, walk.conv_clamp


class Walk:
    """A walk through a network's modules that collects tensors by their keys."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        self.conv_clamp: float | None = None
        self.tensors = Tensors()
        self.modules = 0

    def visit(self, record: object, prefix: str, depth: int) -> None:
        """Collect the tensors of one module and of those within it."""
        self.modules += 1
        if self.modules > MAX_MODULES or depth > MAX_DEPTH:
            raise CheckpointError("it is damaged or hostile: its modules hold each other without end")
        fields = module_fields(record)
        passing = fields.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, tensor in mapping(fields.get(kind)).items():
                if is_tensor(tensor) and not (isinstance(passing, set) and name in passing):
                    self.state[f"{prefix}{name}"] = self.tensors.tensor(tensor)
        self.check(fields)
        for name, child in mapping(fields.get("_modules")).items():
            if child is not None:
                self.visit(child, f"{prefix}{name}.", depth + 1)

    def check(self, fields: dict[Any, Any]) -> None:
        """Note the clamp, and refuse what would render other images than the original."""
        for name, expected in EXPECTED.items():
            if (found := fields.get(name, expected)) != expected:
                raise CheckpointError(f"its {name} is {str(found)[:40]!r}, but only {expected!r} is rendered here")
        clamp = fields.get("conv_clamp")
        if isinstance(clamp, int | float):
            self.conv_clamp = float(clamp)


def module_fields(record: object) -> dict[Any, Any]:
    """Return a module's attributes."""
    meta = record.arguments[0] if isinstance(record, Call) and is_module(record) and record.arguments else None
    fields = meta.get("state") if isinstance(meta, dict) else None
    if not isinstance(fields, dict):
        raise CheckpointError("it is damaged: a network's module is expected where something else is")
    return fields


def mapping(value: object) -> dict[Any, Any]:
    """Return a dictionary, which a module may lack."""
    if not isinstance(value, dict | None):
        raise CheckpointError("it is damaged: a module's contents are no dictionary")
    return value or {}
