"""The example of Figure 4: AdvMix stays where its label's points lie, mixup does not."""

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def test_advmix_makes_likely_points_and_mixup_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    import two_features

    shares = two_features.main(tmp_path / "picture.png")
    assert shares["with AdvMix"] > 0.95
    assert shares["with mixup"] < 0.9
    assert (tmp_path / "picture.png").stat().st_size > 10_000
