"""What runs that were killed are compared with."""

import pytest

from tests.conftest import Tiny, run_pipeline, tree_digest
from tests.faults.killing import ARRAYS, LIMIT, STEPS


@pytest.fixture(scope="session")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a run that nobody killed, in one process."""
    build = tmp_path_factory.mktemp("undisturbed") / "b"
    assert run_pipeline(*tiny.invert(build, limit=LIMIT, steps=STEPS)).code == 0
    return tree_digest(build, ARRAYS)
