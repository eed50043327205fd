"""`--compile`: fused kernels find what the others find, and only full batches are compiled."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from pipeline.store import read_rows
from stages.invert.compiled import CompiledLosses
from tests.conftest import Tiny, run_pipeline
from tests.stages.test_solver import DIM, LAYERS, Valleys, centres, lbfgs, solve

FLAGS = ["--method", "lpips", "--batch-size", "4"]


def test_full_batches_are_compiled_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, wrapped = (Valleys(centres(11)) for _ in range(2))
    fused = Mock(wraps=wrapped.loss)
    monkeypatch.setattr(torch, "compile", lambda loss, **options: fused)
    expected = solve(plain, 11, 4, (LAYERS, DIM), lbfgs)
    found = solve(CompiledLosses(wrapped, 4), 11, 4, (LAYERS, DIM), lbfgs)
    torch.testing.assert_close(found.w, expected.w)
    assert {len(call.args[0]) for call in fused.call_args_list} == {4}
    assert fused.call_count < int(found.steps.sum())


def test_without_a_compiler_nothing_begins(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = run_pipeline(*tiny.invert(tmp_path / "b", "--compile", *FLAGS))
    assert done.code == 2
    assert "--compile needs a C++ compiler (no-such-compiler)" in done.err
    assert not (tmp_path / "b" / "latents.zarr").exists()


@pytest.mark.slow
def test_fused_kernels_find_the_same(tiny: Tiny, tmp_path: Path) -> None:
    found = []
    for name, flags in (("plain", []), ("fused", ["--compile"])):
        done = run_pipeline(*tiny.invert(tmp_path / name, *FLAGS, *flags, limit=10))
        assert done.code == 0, done.err
        found.append(read_rows(tmp_path / name / "latents.zarr", ("w", "psnr"), 0, 10))
    plain, fused = found
    np.testing.assert_allclose(fused["psnr"], plain["psnr"], atol=0.1)
    # Rounding may tip an acceptance of a step in one sample or another, but not in most.
    assert np.median(np.abs(fused["w"] - plain["w"]).max(axis=(1, 2))) < 1e-3
