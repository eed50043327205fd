"""Many samples at once: decoders let go of the interpreter, so threads keep every core busy."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.datasets.base import DatasetReader, LoadedImage
from pipeline.errors import SampleError


def read_all(reader: DatasetReader, sources: Sequence[str], threads: int) -> Iterator[LoadedImage | SampleError]:
    """Load samples in their order; one that cannot be used comes as the SampleError that says why."""

    def read(source: str) -> LoadedImage | SampleError:
        try:
            return reader.load(source)
        except SampleError as error:
            return error

    if threads <= 1:
        yield from map(read, sources)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, sources)
