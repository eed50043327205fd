"""Miniature images for the tests of the readers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets import load_dataset
from tests.conftest import write_manifest


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A colourful picture without hard edges, which JPEG keeps well."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_image(path: Path, width: int = 24, height: int = 20, seed: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = Image.registered_extensions()[path.suffix.lower()]
    path.write_bytes(encoded(smooth(width, height, seed), kind, **options))
    return path


def reader_of(folder: Path, label: str | None = None, **content: Any) -> Any:
    """The reader of a manifest written beside a dataset in `folder`."""
    content = {"name": "mine", "resolution": 16, "root": str(folder)} | content
    path = write_manifest(folder.parent / "mine.toml", **content)
    return load_dataset(str(path), label)[1]
