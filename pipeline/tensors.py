"""Safetensors files that carry the digest of their own content."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.weights import write_weights

DIGEST = "content_sha256"
WITHOUT: tuple[set[str], ...] = (set(), {"images"}, {"format"}, {"key", "step"})  # metadata of files without one


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors with metadata and the digest of both, whole or not at all."""
    write_weights(path, tensors, {**metadata, DIGEST: content_digest(tensors, metadata)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    Raises:
        ValueError: it is no such file, or not as it was written.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    digest = metadata.pop(DIGEST, None)
    if digest != content_digest(tensors, metadata) and not (digest is None and set(metadata) in WITHOUT):
        raise ValueError("it differs from what was written")
    return tensors, metadata


def content_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """sha256 over metadata, and names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
