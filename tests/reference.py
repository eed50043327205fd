"""Outputs of the reference implementations, and the networks that made them."""

from safetensors import safe_open
from torch import Tensor

from tests.conftest import DATA

STYLEGAN1 = "dev-stylegan1-32"


def reference(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, str]]:
    """A network's state dict, its inputs and outputs, and what is said of it.

    The eight 512x512 matrices of StyleGAN1's mapping are kept as two factors each: as the matrix acts on what
    reaches it from the file's two z, which is all that those outputs depend on.
    """
    with safe_open(DATA / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        facts = file.metadata()
    for key in [key for key in tensors if key.endswith("/left")]:
        _, layer, _ = key.split("/")
        matrix = tensors.pop(key) @ tensors.pop(f"mapping/{layer}/right")
        tensors[f"state/mapping.dense{layer}.linear.weight"] = matrix
    state, io = (
        {key.removeprefix(part): tensor for key, tensor in tensors.items() if key.startswith(part)}
        for part in ("state/", "io/")
    )
    return state, io, facts
