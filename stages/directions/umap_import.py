"""Imports UMAP where the functions that it compiles cannot be kept beside it or in the home folder."""

import sys
from tempfile import TemporaryDirectory
from typing import Any

_folders: list["TemporaryDirectory[str]"] = []  # deleted when the process ends


def import_umap() -> Any:
    """The class UMAP. What numba compiles for it is kept in a folder of this process if nowhere else."""
    try:
        from umap import UMAP
    except RuntimeError:  # numba's "cannot cache function …: no locator available"
        import numba

        for name in [name for name in sys.modules if name.partition(".")[0] in ("umap", "pynndescent")]:
            del sys.modules[name]
        _folders.append(TemporaryDirectory(prefix="onmanifold-numba-"))
        numba.config.CACHE_DIR = _folders[-1].name  # type: ignore[attr-defined]
        from umap import UMAP
    return UMAP
