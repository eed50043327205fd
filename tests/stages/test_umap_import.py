"""UMAP is there for users whose home folder and environment cannot be written to."""

import os
import subprocess
import sys
from pathlib import Path

LIKE_UMAP = """
import numba

@numba.njit(cache=True)
def rdist(x):
    return x

class UMAP: ...
"""
SCRIPT = """
from pathlib import Path
import numba.core.caching as caching

# As where neither the library's folder nor the home folder can be written to: only a folder that is given.
caching.CacheImpl._locator_classes = caching.CacheImpl._locator_classes[:1]
from stages.directions.umap_import import _folders, import_umap

assert import_umap().__name__ == "UMAP"
folder = Path(_folders[0].name)
assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0  # numba unpickles what lies there
print(folder)
"""


def test_what_is_compiled_is_kept_for_the_process_alone(tmp_path: Path) -> None:
    (tmp_path / "umap").mkdir()
    (tmp_path / "umap" / "__init__.py").write_text(LIKE_UMAP)
    (tmp_path / "tmp").mkdir()
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == tmp_path / "tmp"
    assert list((tmp_path / "tmp").iterdir()) == []
