"""StyleGAN2 against the outputs of the reference implementation, to the last digits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import WeightsError
from pipeline.generators import Generator, StyleGAN2, load_generator
from tests.conftest import DATA, Tiny
from tests.reference import reference

FILES = sorted(DATA.glob("dev-stylegan2ada-*.safetensors"))


def parts(path: Path) -> tuple[StyleGAN2, dict[str, torch.Tensor], dict[str, Any]]:
    state, io, said = reference(path.stem)
    facts = {k: None if v == "None" else v for k, v in said.items()}
    clamp = facts["conv_clamp"]
    return StyleGAN2.from_state_dict(state, conv_clamp=None if clamp is None else float(clamp)), io, facts


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def test_there_is_something_to_compare_with() -> None:
    assert len(FILES) == 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_mapping_and_truncation_equal_the_reference(path: Path) -> None:
    generator, io, facts = parts(path)
    cutoff = None if facts["cutoff"] is None else int(facts["cutoff"])
    assert worst(generator.map(io["z"], io.get("c")), io["ws"]) <= 1e-5
    truncated = generator.map(io["z"], io.get("c"), truncation_psi=float(facts["psi"]), truncation_cutoff=cutoff)
    assert worst(truncated, io["ws_truncated"]) <= 1e-5


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_images_and_gradient_equal_the_reference(path: Path) -> None:
    generator, io, _ = parts(path)
    w = io["wplus"].clone().requires_grad_(True)
    image = generator.synthesize(w)
    (gradient,) = torch.autograd.grad(image.square().mean(), w)
    assert worst(image, io["image_const"]) <= 1e-4
    assert worst(generator.synthesize(w, noise="none"), io["image_none"]) <= 1e-4
    assert worst(generator.synthesize(io["ws_truncated"]), io["image_trunc_const"]) <= 1e-4
    assert worst(gradient, io["grad_wplus"]) <= 1e-4


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_sizes_are_read_off_the_tensors(path: Path) -> None:
    generator, _, facts = parts(path)
    for name in ("resolution", "num_ws", "z_dim", "w_dim", "c_dim"):
        assert getattr(generator, name) == int(facts[name])
    assert isinstance(generator, Generator)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_renders_nearly_the_same(dtype: torch.dtype) -> None:
    generator, io, _ = parts(FILES[1])
    image = generator.set_precision(dtype).synthesize(io["wplus"])
    assert image.dtype == torch.float32
    error = (image - io["image_const"]).norm() / io["image_const"].norm()
    assert 0 < error < (0.03 if dtype == torch.bfloat16 else 0.005)


def test_random_noise_differs_from_call_to_call_and_none_does_not() -> None:
    generator, io, _ = parts(FILES[1])
    once, again = (generator.synthesize(io["wplus"], noise="random") for _ in range(2))
    assert worst(once, again) > 1e-3
    assert worst(*(generator.synthesize(io["wplus"], noise="none") for _ in range(2))) <= 1e-5


def test_a_conditional_generator_asks_for_labels() -> None:
    conditional = next(g for g, _, f in map(parts, FILES) if f["c_dim"] != "0")
    with pytest.raises(ValueError, match="pass labels"):
        conditional.map(torch.zeros(2, conditional.z_dim))


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "empty"])
def test_other_weights_are_refused(damage: str) -> None:
    generator, _, _ = parts(FILES[0])
    state = dict(generator.state_dict())
    if damage == "missing":
        del state["synthesis.b8.conv1.bias"]
    elif damage == "extra":
        state["synthesis.b8.conv9.bias"] = torch.zeros(3)
    elif damage == "shape":
        state["synthesis.b8.conv1.bias"] = torch.zeros(3)
    else:
        state = {}
    with pytest.raises(WeightsError, match="not a StyleGAN2 generator"):
        StyleGAN2.from_state_dict(state)


def test_a_generator_loads_by_manifest_and_by_weights(tiny: Tiny) -> None:
    z = torch.randn(2, 12)
    by_manifest = load_generator(str(tiny.generator))
    by_weights = load_generator(str(tiny.generator.with_suffix(".safetensors")))
    torch.testing.assert_close(by_manifest.map(z), by_weights.map(z))


@pytest.mark.parametrize(
    ("resolution", "channel_base", "options"),
    [
        (1024, 32768, {}),  # config F
        (256, 16384, {}),
        (512, 32768, {"mapping_layers": 2}),  # auto
        (32, 32768, {"mapping_layers": 2, "c_dim": 10}),  # cifar, conditional
    ],
)
def test_official_sizes_fit_together(resolution: int, channel_base: int, options: dict[str, int]) -> None:
    channels = {4 << i: min(channel_base // (4 << i), 512) for i in range(resolution.bit_length() - 2)}
    with torch.device("meta"):
        network = StyleGAN2(resolution, channels, conv_clamp=256, **options)
        c = torch.zeros(2, network.c_dim) if network.c_dim else None
        w = network.map(torch.randn(2, 512), c, truncation_psi=0.7, truncation_cutoff=8)
        reached = network.activations(w, 5)
        image = network.resume(reached, w, 5)
    assert w.shape == (2, 2 * resolution.bit_length() - 4, 512)
    assert reached.features.shape == (2, channels[32], 32, 32)
    assert reached.rgb is not None
    assert reached.rgb.shape == (2, 3, 16, 16)
    assert image.shape == (2, 3, resolution, resolution)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [256, 1024])
def test_official_sizes_run(resolution: int) -> None:
    channels = {4 << i: min(32768 // (4 << i), 512) for i in range(resolution.bit_length() - 2)}
    network = StyleGAN2(resolution, channels, conv_clamp=256).eval().requires_grad_(False)
    w = network.map(torch.randn(1, 512)).clone().requires_grad_(True)
    image = network.synthesize(w)
    (gradient,) = torch.autograd.grad(image.square().mean(), w)
    assert image.shape == (1, 3, resolution, resolution)
    assert torch.isfinite(image).all()
    assert torch.isfinite(gradient).all()
