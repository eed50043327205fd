"""Our VGG-16 LPIPS against the `lpips` package, on random weights in torchvision's file format."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import WeightsError
from pipeline.perceptual.vgg16 import CONVS, VGG16Perceptual


@pytest.fixture(scope="module")
def lpips_package() -> Any:
    """`lpips`, which imports torchvision, whose compiled operators a CPU build of torch has not."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    import lpips

    return lpips


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = torch.Generator().manual_seed(0)
    state, channels = {}, 3
    for i, out in CONVS.items():
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{i}.weight"] = torch.randn(out, channels, 3, 3, generator=rng) * scale
        state[f"features.{i}.bias"] = torch.randn(out, generator=rng) * 0.1
        channels = out
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path


def test_distance_equals_the_lpips_package(lpips_package: Any, backbone: Path) -> None:
    reference = lpips_package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state = torch.load(backbone, weights_only=True)
    slices = reference.net.state_dict()
    for key in slices:
        slices[key] = state[f"features.{key.split('.', 1)[1]}"]
    reference.net.load_state_dict(slices)
    ours = VGG16Perceptual.from_files(backbone, check_digest=False).eval()
    images, targets = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected = reference(images, targets).flatten()
        found = ours.distance(images, ours.target(targets))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_activations_are_those_of_algorithm_1(backbone: Path) -> None:
    ours = VGG16Perceptual.from_files(backbone, check_digest=False)
    shapes = [tuple(layer.shape[1:]) for layer in ours.activations(torch.zeros(1, 3, 32, 32))]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]  # conv1_2, conv2_2, conv3_2


def test_another_file_under_the_official_name_is_refused(backbone: Path) -> None:
    with pytest.raises(WeightsError, match="not the official file"):
        VGG16Perceptual.from_files(backbone)


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"{tmp_path}.*vgg16-397923af\.pth: download https://"):
        VGG16Perceptual.from_files()
