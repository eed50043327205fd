"""Networks of genforce and others render what the code that wrote them did (`tests/data/zoo-*.safetensors`)."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import CheckpointError, PipelineError
from pipeline.generators.checkpoints import Checkpoint, import_checkpoint, read_checkpoint
from pipeline.generators.checkpoints.importing import built
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.loading import forget_generators, load_generator
from pipeline.generators.stylegan1 import StyleGAN1
from tests.pipeline.generators.tiny_states import randomised
from tests.reference import reference

State = dict[str, Tensor]

ZOO: dict[str, tuple[str, str]] = {
    "genforce-stylegan": ("stylegan1", "genforce StyleGAN"),
    "genforce-stylegan2": ("stylegan2", "genforce StyleGAN2"),
    "genforce-stylegan2ada-labels": ("stylegan2", "genforce StyleGAN2"),
    "genforce-progan": ("progan", "genforce ProGAN"),
    "genforce-progan-fused": ("progan", "genforce ProGAN"),
    "higan-stylegan": ("stylegan1", "StyleGAN of genforce's relatives"),
    "higan-stylegan2": ("stylegan2", "genforce StyleGAN2"),
    "higan-progan": ("progan", "ProGAN of genforce's relatives"),
    "higan-progan-fused": ("progan", "ProGAN of genforce's relatives"),
    "idinvert": ("stylegan1", "StyleGAN of genforce's relatives"),
    "biggan-unshared": ("biggan", "BigGAN-PyTorch, without shared embeddings"),
    "biggan-deep": ("biggan-deep", "BigGAN-PyTorch, deep"),
    "mmgeneration": ("stylegan2", "mmgeneration StyleGAN2"),
    "pytorch-gan-zoo": ("progan", "pytorch_GAN_zoo ProGAN"),
}


def wrapped(name: str, state: State) -> Any:
    """Wrap a state dict as its writer does."""
    worse = {key: tensor + 1 for key, tensor in state.items()}
    if name == "mmgeneration":
        both = {f"generator.{key}": tensor for key, tensor in worse.items()}
        both |= {f"generator_ema.{key}": tensor for key, tensor in state.items()}
        return {"meta": {"mmgen_version": "0.7.2"}, "state_dict": both | {"discriminator.a.weight": torch.ones(3)}}
    if name == "pytorch-gan-zoo":
        return {"netG": worse, "netD": {"scaleLayers.0.0.module.weight": torch.ones(3)}, "avgG": state}
    if name.startswith("genforce"):
        return {"discriminator": {"input0.weight": torch.ones(3)}, "generator": worse, "generator_smooth": state}
    return state


def loaded(path: Path, content: Any) -> tuple[Checkpoint, LayeredGenerator]:
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    return checkpoint, built(checkpoint, path)


@pytest.mark.parametrize("name", ZOO)
def test_a_network_of_the_zoo_renders_the_same(tmp_path: Path, name: str) -> None:
    state, io, _ = reference(f"zoo-{name}")
    checkpoint, network = loaded(tmp_path / "x.pth", wrapped(name, state))
    assert (checkpoint.family, checkpoint.format) == ZOO[name]
    w = network.map(io["z"], io.get("c"))
    if "w1" in io:
        assert (w - io["w1"][:, None]).abs().max() <= 1e-5 * io["w1"].abs().max()
    if "w" in io:  # the first three of its layers are truncated
        w = network.map(io["z"], io.get("c"), truncation_psi=0.7, truncation_cutoff=3)
        assert (w - io["w"]).abs().max() <= 1e-5 * io["w"].abs().max()
    assert io["image"].std() > 0.1
    assert (network.synthesize(w) - io["image"]).abs().max() <= 1e-4


def test_a_w_for_each_layer_survives_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    forget_generators()
    state, io, _ = reference("zoo-idinvert")
    torch.save(state, tmp_path / "x.pth")
    manifest = import_checkpoint(tmp_path / "x.pth", "mine").manifest
    assert manifest.settings == {"final_tanh": True}
    assert "tanh" in manifest.notes[0]
    w = (network := load_generator("mine")).map(io["z"])
    assert not torch.equal(w[:, 0], w[:, 1])
    assert (network.synthesize(io["w"]) - io["image"]).abs().max() <= 1e-4


def in_the_zoo_s_layout(state: State) -> State:
    """Write a StyleGAN of ours in the keys of genforce's zoo, where all convolutions are [out, in, 3, 3]."""
    names = (
        (r"mapping\.dense(\d+)\.(?:linear|wscale)\.", r"mapping.dense\1."),
        (r"\.epilogue\.style_mod\.dense\.(?:linear|wscale)\.", ".style."),
        (r"\.epilogue\.", "."),
        (r"\.first_layer", ".const"),
        (r"\.conv\.weight", ".weight"),
    )
    result = {}
    for key, tensor in state.items():
        fused = re.fullmatch(r"synthesis\.layer\d+\.weight", key)
        for pattern, theirs in names:
            key = re.sub(pattern, theirs, key)
        result[key] = tensor.permute(3, 2, 0, 1) if fused else tensor
    return result


def test_convolutions_from_128_up_are_transposed_ones(tmp_path: Path) -> None:
    state = randomised(StyleGAN1([4, 4, 4, 4, 4, 3, 2], z_dim=6, w_dim=5, mapping_layers=2))
    assert "synthesis.layer12.weight" in state
    checkpoint, _ = loaded(tmp_path / "x.pth", in_the_zoo_s_layout(state))
    assert checkpoint.state.keys() == state.keys()
    assert all(torch.equal(checkpoint.state[key], state[key]) for key in state)


def changed(name: str, change: Callable[[State], State]) -> State:
    state, _, _ = reference(f"zoo-{name}")
    return state | change(state)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("genforce-stylegan", lambda s: {"synthesis.lod": torch.tensor(2.0)}, "had grown"),
        ("genforce-progan", lambda s: {"lod": torch.tensor(1.0)}, "had grown"),
        ("genforce-stylegan", lambda s: {"truncation.w_avg": torch.ones(60)}, "a mean of w for each layer"),
        (
            "genforce-stylegan",
            lambda s: {"synthesis.skip.weight": torch.ones(2)},
            "'synthesis.skip.weight' is in no",
        ),
        ("genforce-stylegan2", lambda s: {"synthesis.upsample.kernel": torch.ones(1, 1, 4, 4)}, "low-pass filter"),
        ("genforce-stylegan2", lambda s: {"synthesis.layer0.noise": torch.tensor(1.0)}, "other shapes"),
        ("genforce-stylegan2", lambda s: {"synthesis.layer1.weight": torch.ones(3)}, "other shapes"),
        ("genforce-progan", lambda s: {"layer0.weight": torch.ones(3)}, "other shapes"),
        (
            "genforce-progan",
            lambda s: {"layer99.weight": torch.ones(3, 3, 3, 3)},
            "'layer99.weight' is in no ProGAN",
        ),
        (
            "biggan-deep",
            lambda s: {
                "blocks.6.0.conv4.weight": s["blocks.5.0.conv4.weight"],
                "blocks.6.0.conv1.weight": s["blocks.5.0.conv1.weight"],
            },
            "another depth",
        ),
        ("biggan-deep", lambda s: {"shared.weight": torch.ones(4)}, "odd shape"),
        ("biggan-unshared", lambda s: {"blocks.1.0.bn1.gain.weight": torch.ones(4)}, "odd shape"),
    ],
)
def test_what_is_not_rendered_is_refused_by_name(tmp_path: Path, name: str, change: Any, words: str) -> None:
    torch.save(changed(name, change), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("name", [*ZOO, "lucidrains"])
def test_a_missing_or_misshapen_tensor_is_refused_if_it_matters(tmp_path: Path, name: str) -> None:
    state, _, _ = reference(f"zoo-{name}")
    matters = {key for key in state if key.endswith((".weight", ".bias")) and "output0" not in key}
    refused = set()
    for key in list(state)[:: len(state) // 8]:
        for content in ({k: v for k, v in state.items() if k != key}, state | {key: torch.ones(2, 3, 5)}):
            try:
                loaded(tmp_path / "x.pth", content)
            except PipelineError:
                refused.add(key)
    unread = r"D|(S|G)\..*" if name == "lucidrains" else r"output1\..*|synthesis\.output1\..*|toRGBLayers\.[01]\..*"
    assert {
        key for key in list(state)[:: len(state) // 8] if key in matters and not re.fullmatch(unread, key)
    } <= refused


def test_lucidrains_renders_the_same(tmp_path: Path) -> None:
    state, io, _ = reference("zoo-lucidrains")
    checkpoint, network = loaded(tmp_path / "model_7.pt", {"GAN": state, "version": "1.9.0"})
    assert (checkpoint.family, checkpoint.format) == ("lucidrains", "lucidrains StyleGAN2")
    assert (network.resolution, network.num_ws, network.num_layers) == (16, 9, 8)
    network.noise.copy_(io["noise"][0, :, :, 0].T)  # rows and columns change places there
    w = network.map(io["z"])
    assert (w - io["w"][:, None]).abs().max() <= 1e-5
    assert (network.synthesize(w) - (io["image"] * 2 - 1)).abs().max() <= 1e-4
    mixed = io["wplus"].repeat_interleave(3, dim=1)
    assert (network.synthesize(mixed) - (io["image_wplus"] * 2 - 1)).abs().max() <= 1e-4


def test_lucidrains_gets_a_mean_and_a_noise_of_one_seed(tmp_path: Path) -> None:
    state, _, _ = reference("zoo-lucidrains")
    made = [loaded(tmp_path / f"{i}.pt", {"GAN": state}) for i in range(2)]
    assert torch.equal(made[0][0].state["noise"], made[1][0].state["noise"])
    network = made[0][1]
    mean = network.map(torch.randn(4096, 12))[:, 0].mean(dim=0)
    assert (network.map(torch.randn(1, 12), truncation_psi=0.0)[0, 0] - mean).norm() < 0.1 * mean.norm()
    assert [note.split(":")[0] for note in made[0][0].notes[1:]] == [
        "the file does not tell the mapping's learning rate (lr_mlp)",
        "the file has no mean of w",
        "the file has no noise",
    ]


def test_lucidrains_without_averages_is_taken_as_trained(tmp_path: Path) -> None:
    state, _, _ = reference("zoo-lucidrains")
    trained = {key: tensor for key, tensor in state.items() if not key.startswith(("SE.", "GE."))}
    checkpoint, _ = loaded(tmp_path / "x.pt", {"GAN": trained})
    assert checkpoint.format == "lucidrains StyleGAN2, not averaged"
    assert torch.equal(checkpoint.state["G.initial_block"], state["G.initial_block"])


@pytest.mark.parametrize(
    ("key", "shape", "words"),
    [
        ("GE.attns.1.0.fn.norm.g", (1, 8, 1, 1), "attention"),
        ("GE.to_initial_block.weight", (12, 8, 4, 4), "an input instead of a constant"),
        ("GE.blocks.0.to_rgb.conv.weight", (4, 8, 1, 1), "transparency"),
    ],
)
def test_what_lucidrains_has_besides_is_refused(
    tmp_path: Path, key: str, shape: tuple[int, ...], words: str
) -> None:
    state, _, _ = reference("zoo-lucidrains")
    torch.save({"GAN": state | {key: torch.ones(shape)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path / "x.pt")


def test_fine_layers_of_lucidrains_are_those_of_the_last_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    state, _, _ = reference("zoo-lucidrains")
    torch.save({"GAN": state}, tmp_path / "x.pt")
    assert import_checkpoint(tmp_path / "x.pt", "mine").manifest.fine_layers == (6, 7, 8)
