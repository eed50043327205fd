"""Safetensors weights: found, checked against their digest, read."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.files import sha256_file


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, whose digest must be `sha256` if that is given.

    Raises:
        WeightsError: the file is missing, damaged or another one.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        raise WeightsError(f"{path} is not the declared file: sha256 is {found}, the manifest says {sha256}")
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error
    return state
