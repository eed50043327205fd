"""How fast photographs are read: 500x375 JPEGs, as ImageNet has them, to 256x256, against plain Pillow."""

import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets.decoding import decode
from pipeline.datasets.folder import Folder, FolderManifest
from pipeline.datasets.reading import read_all
from pipeline.devices import use_one_thread

COUNT, SIZE = 60, 256


def photograph(seed: int) -> bytes:
    """Detail at every scale, about 100 KB as JPEG, like the mean of ImageNet."""
    rng = np.random.default_rng(seed)
    pixels = np.full((375, 500, 3), 128.0)
    for side in (4, 12, 40, 120, 375):
        layer = rng.normal(0, 1, (side, side * 4 // 3, 3)).clip(-2, 2) * 63 + 127
        enlarged = Image.fromarray(layer.astype(np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        pixels += (np.asarray(enlarged) - 127.0) / side**0.4
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def with_pillow(data: bytes, filter_: Image.Resampling) -> None:
    """The usual way."""
    with Image.open(io.BytesIO(data)) as image:
        np.asarray(image.convert("RGB").resize((SIZE, SIZE), filter_))


def rate(function: Callable[[bytes], object], photographs: Sequence[bytes]) -> float:
    """Images a second of processor time, each at its best of five, which a busy neighbour does not change much."""
    total = 0.0
    for data in photographs:
        times = []
        for _ in range(5):
            began = time.process_time()
            function(data)
            times.append(time.process_time() - began)
        total += min(times)
    return len(photographs) / total


def reading_rates() -> dict[str, float]:
    """Images a second, of one core or, for `threads`, of all cores as the clock goes, files read and hashed."""
    photographs = [photograph(seed) for seed in range(COUNT)]
    found = {
        "pillow lanczos": rate(lambda data: with_pillow(data, Image.Resampling.LANCZOS), photographs),
        "pillow bicubic": rate(lambda data: with_pillow(data, Image.Resampling.BICUBIC), photographs),
        "pillow bilinear": rate(lambda data: with_pillow(data, Image.Resampling.BILINEAR), photographs),
    }
    for name in ("lanczos", "bicubic", "bilinear"):
        found[name] = rate(lambda data, name=name: decode(data, SIZE, "none", name), photographs)  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(photographs):
            path = Path(folder) / "photographs" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        manifest = FolderManifest(name="bench", format="folder", resolution=SIZE, root=folder)
        reader = Folder(manifest)
        sources = reader.scan()["source"].tolist()
        began = time.perf_counter()
        list(read_all(reader, sources, os.cpu_count() or 1))
        found["threads"] = COUNT / (time.perf_counter() - began)
    return found


if __name__ == "__main__":
    use_one_thread()
    for name, images in reading_rates().items():
        print(f"{name:<16} {images:6.0f} images a second")
