"""Pickles of StyleGAN3: every setting in them is rendered, or refused by name."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import CheckpointError, WeightsError
from pipeline.generators import load_generator, open_generator
from pipeline.generators.blank import blank_network
from pipeline.generators.checkpoints import Checkpoint, import_checkpoint, read_checkpoint
from pipeline.generators.checkpoints.importing import default_fine_layers
from pipeline.generators.checkpoints.nvidia import module_fields
from pipeline.generators.checkpoints.pickles import Machine
from pipeline.generators.checkpoints.recognition import from_content
from pipeline.generators.checkpoints.tensors import Tensors
from pipeline.generators.loading import forget_generators
from pipeline.generators.stylegan3 import StyleGAN3
from tests.conftest import DATA

COND, OTHER = "stylegan3-t-32-cond", "stylegan3-other-64"


def record(name: str) -> Any:
    """The inert record of a fixture's generator."""
    return Machine(memoryview((DATA / f"{name}.pkl").read_bytes())).run()["G_ema"]


def module(generator: Any, path: str) -> dict[Any, Any]:
    """Attributes of a module; a name ending in * is the first that begins so."""
    fields = module_fields(generator)
    for name in path.split(".") if path else []:
        inner = fields["_modules"]
        found = (
            name
            if name in inner
            else next(key for key in inner if name.endswith("*") and key.startswith(name[:-1]))
        )
        fields = module_fields(inner[found])
    return fields


def changed(name: str, path: str, **attributes: Any) -> Checkpoint:
    generator = record(name)
    module(generator, path).update(attributes)
    return from_content(generator, Tensors())


@pytest.mark.parametrize("name", [COND, OTHER])
def test_an_import_renders_what_the_reference_renders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path))
    forget_generators()
    manifest = import_checkpoint(DATA / f"{name}.pkl", "mine").manifest
    assert (manifest.family, manifest.source_format) == ("stylegan3", "StyleGAN3 pickle")
    io = load_file(DATA / f"{name}.io.safetensors")
    torch.testing.assert_close(load_generator("mine").synthesize(io["wplus"]), io["image"], rtol=0, atol=1e-5)
    if name == COND:
        assert (manifest.num_ws, manifest.conv_clamp, manifest.settings) == (16, 256, {})
        assert open_generator("mine").fine_layers == tuple(range(6, 16))
    else:
        assert (manifest.num_ws, manifest.conv_clamp) == (9, 0.5)
        assert manifest.settings == {
            "num_critical": 1, "first_cutoff": 3, "first_stopband": 7, "last_stopband_rel": 1.5, "margin_size": 4,
            "filter_size": 5, "lrelu_upsampling": 4, "output_scale": 0.7, "lr_multiplier": 0.1,
        }  # fmt: skip


def test_a_network_without_a_clamp_keeps_none() -> None:
    generator = record(COND)
    for name in module(generator, "synthesis")["_modules"]:
        if name.startswith("L"):
            module(generator, f"synthesis.{name}")["conv_clamp"] = None
    module(generator, "synthesis")["output_scale"] = 1.0
    checkpoint = from_content(generator, Tensors())
    assert (checkpoint.conv_clamp, checkpoint.settings) == (math.inf, {"output_scale": 1.0})
    network = StyleGAN3.from_state_dict(checkpoint.state, conv_clamp=checkpoint.conv_clamp)
    assert network.synthesis.layer(0).clamp == math.inf


def test_a_state_dict_alone_is_read_as_official(tmp_path: Path) -> None:
    torch.save({"G_ema": read_checkpoint(DATA / f"{COND}.pkl").state}, tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert (checkpoint.family, checkpoint.format) == ("stylegan3", "StyleGAN3 state dict")
    io = load_file(DATA / f"{COND}.io.safetensors")
    image = StyleGAN3.from_state_dict(checkpoint.state).synthesize(io["wplus"])
    torch.testing.assert_close(image, io["image"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "attributes", "says"),
    [
        ("synthesis.L3_*", {"up_factor": 4}, r"its synthesis\.L3_.* has up_factor = 4, but only 2"),
        ("synthesis.L3_*", {"conv_clamp": 128}, "conv_clamp = 128"),
        ("synthesis.L3_*", {"conv_clamp": None}, "conv_clamp = None"),
        ("synthesis.L3_*", {"padding": [0, 0, 0, 0]}, "padding"),
        ("synthesis.L3_*", {"in_cutoff": 5.0}, "in_cutoff = 5.0"),
        ("synthesis.L3_*", {"in_size": [40, 40]}, "in_size"),
        ("synthesis.L3_*.affine", {"activation": "lrelu"}, "activation = 'lrelu'"),
        ("synthesis.L3_*.affine", {"bias_gain": 0.5}, "bias_gain = 0.5"),
        ("synthesis.L3_*.affine", {"weight_gain": 1.0}, "weight_gain = 1.0"),
        ("synthesis.input", {"bandwidth": 3}, "bandwidth = 3"),
        ("synthesis.input", {"sampling_rate": 32}, "sampling_rate = 32"),
        ("synthesis", {"margin_size": 12}, "in_size = "),
        ("synthesis", {"img_resolution": None}, "renders no size"),
        ("mapping.fc0", {"activation": "relu"}, "activation = 'relu'"),
        ("mapping.fc1", {"bias_gain": 1.0}, "bias_gain = 1.0"),
        ("mapping.embed", {"activation": "lrelu"}, "activation = 'lrelu'"),
        ("mapping", {"_init_kwargs": {"normalize": False}}, "its normalize is False"),
        ("", {"_init_kwargs": {"skip_w": 1}}, "its skip_w is 1"),
        ("synthesis", {"_init_kwargs": {"filter_mode": "box"}}, "its filter_mode is 'box'"),
        ("synthesis", {"_init_kwargs": {"first_cutoff": "2"}}, "first_cutoff is '2', which is no number"),
        ("synthesis", {"_init_kwargs": {"first_cutoff": 3}}, "in_cutoff|bandwidth|size"),
        ("synthesis", {"num_critical": 40}, "num_critical = 40"),
        ("synthesis", {"_init_kwargs": 3}, "no dictionary"),
    ],
)
def test_what_is_not_rendered_is_refused_by_name(path: str, attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        changed(COND, path, **attributes)


def test_modules_that_hold_each_other_are_refused() -> None:
    generator = record(COND)
    module(generator, "synthesis")["_modules"]["again"] = generator
    with pytest.raises(CheckpointError, match="without end"):
        from_content(generator, Tensors())


def test_a_missing_layer_is_named() -> None:
    generator = record(COND)
    layers = module(generator, "synthesis")["_modules"]
    del layers[next(name for name in layers if name.startswith("L5_"))]
    with pytest.raises((CheckpointError, WeightsError), match=r"L5|num_layers"):
        from_content(generator, Tensors())


def test_fine_layers_are_those_of_a_rate_of_128_and_finer() -> None:
    def fine(resolution: int) -> tuple[int, ...]:
        with blank_network():
            network = StyleGAN3(resolution, [4] * 15)
        return default_fine_layers(network)

    assert fine(1024) == tuple(range(6, 16))
    assert fine(512) == tuple(range(7, 16))
    assert fine(256) == tuple(range(8, 16))
    assert fine(64) == tuple(range(9, 16))
