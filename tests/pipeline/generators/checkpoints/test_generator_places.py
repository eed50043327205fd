"""A generator is found under whatever prefix and wrapper people save it, and the averaged one is preferred."""

import sys
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import read_checkpoint
from pipeline.generators.checkpoints.no_family import NETWORKS
from pipeline.generators.checkpoints.places import best, rank
from pipeline.generators.loading import family_class
from tests.pipeline.generators import tiny_states
from tests.pipeline.generators.checkpoints.made import as_rosinality, nvidia_pickle, parity, stand_ins

State = dict[str, Tensor]
ATTRIBUTES = "pytorch_lightning.utilities.parsing.AttributeDict"


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def other(state: State) -> State:
    """The same network with other weights."""
    return {key: tensor + 1 for key, tensor in state.items()}


def discriminator() -> State:
    return {"b32.fromrgb.weight": torch.ones(4, 3, 1, 1), "b4.fc.weight": torch.ones(2, 2)}


def lightning(state: State) -> dict[str, Any]:
    adam = {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"params": [0]}]}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": OrderedDict(prefixed("generator.", state) | prefixed("discriminator.", discriminator())),
        "optimizer_states": [adam],
        "hyper_parameters": {"args": Namespace(lr=0.1), "out": PosixPath("/x"), "n": defaultdict(list, a=[1])},
    }


WRAPPERS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "decoder": ("decoder", lambda s: prefixed("decoder.", s) | {"encoder.conv.weight": torch.ones(3, 3)}),
    "several GPUs": ("module", lambda s: prefixed("module.", s)),
    "compiled, on several GPUs": ("module._orig_mod", lambda s: prefixed("module._orig_mod.", s)),
    "deep": ("a.model.generator", lambda s: {"a": {"model": prefixed("generator.", s)}, "step": 5}),
    "a list": ("nets.1", lambda s: {"nets": [discriminator(), s]}),
    "netG": ("netG", lambda s: {"netG": s, "netD": discriminator(), "optG": {"lr": 0.1}}),
    "averaged first": ("g_ema", lambda s: {"g": other(s), "d": discriminator(), "g_ema": s}),
    "averaged by a word": ("generator_smooth", lambda s: {"generator": other(s), "generator_smooth": s}),
    "averaged in a wrapper": (
        "ema_model",
        lambda s: prefixed("online_model.", other(s)) | prefixed("ema_model.", s) | {"initted": torch.tensor(True)},
    ),
    "averaged in camel case": ("generatorEMA", lambda s: {"model": other(s), "generatorEMA": s}),
    "alike, but named as a discriminator": ("g", lambda s: {"netD": other(s), "g": s}),
    "Lightning": ("state_dict.generator", lightning),
    "the same twice": ("G", lambda s: {"G": s, "generator": s}),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_generator_is_found_in_any_wrapper(tmp_path: Path, name: str) -> None:
    place, wrap = WRAPPERS[name]
    state = tiny_states.stylegan2()
    torch.save(wrap(state), tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert checkpoint.family == "stylegan2"
    assert checkpoint.state.keys() == state.keys()
    assert all(torch.equal(checkpoint.state[key], state[key]) for key in state)
    assert checkpoint.notes[0].startswith(f"the generator was taken from '{place}'")
    assert ("not from" in checkpoint.notes[0]) == ("averaged" in name or "alike" in name)


@pytest.mark.parametrize("family", tiny_states.FAMILIES)
def test_every_family_is_found_under_a_prefix(tmp_path: Path, family: str) -> None:
    network, make_state = tiny_states.FAMILIES[family]
    state = make_state()
    torch.save(
        {"state_dict": prefixed("model.G.", state) | prefixed("model.D.", discriminator())}, tmp_path / "x.pt"
    )
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert family_class(checkpoint.family) is network
    assert checkpoint.state.keys() == state.keys()


def test_what_lies_beside_a_generator_is_left_out(tmp_path: Path) -> None:
    state = tiny_states.stylegan2()
    torch.save(state | prefixed("discriminator.", discriminator()) | {"step": torch.tensor(3)}, tmp_path / "x.pt")
    assert read_checkpoint(tmp_path / "x.pt").state.keys() == state.keys()


def test_a_mean_of_w_further_out_is_found(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    content = as_rosinality(state)
    wrapped = {"state_dict": prefixed("decoder.", content["g_ema"]), "latent_avg": content["latent_avg"]}
    torch.save(wrapped, tmp_path / "x.pt")
    assert torch.equal(read_checkpoint(tmp_path / "x.pt").state["mapping.w_avg"], state["mapping.w_avg"])


@pytest.mark.parametrize("names", [("A", "B"), ("A_ema", "B_ema"), ("netD", "netD_2")])
def test_two_generators_of_equal_rank_are_named(tmp_path: Path, names: tuple[str, str]) -> None:
    state = tiny_states.stylegan2()
    torch.save({names[0]: state, names[1]: other(state)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=f"several generators, at '{names[0]}' and '{names[1]}'"):
        read_checkpoint(tmp_path / "x.pt")


def test_an_average_without_names_is_told(tmp_path: Path) -> None:
    torch.save({"decay": 0.99, "shadow_params": [torch.ones(3), torch.ones(2)]}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="'shadow_params' as a list without names"):
        read_checkpoint(tmp_path / "x.pt")


def test_settings_of_other_classes_are_read_past(tmp_path: Path) -> None:
    state = tiny_states.stylegan2()
    with stand_ins(ATTRIBUTES) as made:
        kind = type("AttributeDict", (dict,), {"__module__": made["AttributeDict"].__module__})
        sys.modules[kind.__module__].AttributeDict = kind  # type: ignore[attr-defined]
        torch.save(
            {"state_dict": state, "hyper_parameters": kind(lr=1), "callbacks": {kind: {"best": 1.0}}},
            tmp_path / "x.pt",
        )
    assert read_checkpoint(tmp_path / "x.pt").state.keys() == state.keys()


def test_a_snapshot_of_nvidia_gives_its_average_without_a_word(tmp_path: Path) -> None:
    state, _ = parity("dev-stylegan2ada-32")
    assert read_checkpoint(nvidia_pickle(tmp_path / "x.pkl", state, 256, copies=3)).notes == ()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("g_ema.", 0), ("G_ema.", 0), ("state_dict.ema.", 0), ("generator_smooth.", 0), ("netG_avg.", 0),
        ("Gs.", 0), ("params_ema.", 0), ("g_running.", 0), ("model_ema.module.", 0), ("generatorEMA.", 0),
        ("netGEma.", 0),
        ("", 1), ("g.", 1), ("schema.", 1), ("generator.", 1), ("state_dict.decoder.", 1), ("GS.", 1),
        ("D.", 2), ("netD.", 2), ("model.discriminator.", 2), ("D_ema.", 2), ("disc.", 2), ("encoder.", 2),
    ],
)  # fmt: skip
def test_ranks_of_places(place: str, expected: int) -> None:
    assert rank(place) == expected


def test_the_best_place_is_the_averaged_one() -> None:
    assert best(["g.", "d.", "g_ema."]) == "g_ema."
    assert best(["d."]) == "d."


def test_containers_that_hold_each_other_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": 1}
    content["b"] = [content, content]
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no generator"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(("what", "marks"), NETWORKS)
def test_known_networks_of_no_family_are_named(tmp_path: Path, what: str, marks: tuple[str, ...]) -> None:
    torch.save({"model": dict.fromkeys(marks, torch.ones(2)) | {"x": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=f"it holds {what}, which is of no family"):
        read_checkpoint(tmp_path / "x.pt")
