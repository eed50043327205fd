"""TensorFlow's networks render what the published code renders, whatever settings they were trained with.

`tests/data/tf-*.npz` hold small random networks, and what the repositories' own code made of them: for each case
its settings, its variables (those of the case `base` where they have the same shape), z, label, w, w+ and image.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import Checkpoint, read_checkpoint
from pipeline.generators.layered import LayeredGenerator
from pipeline.generators.loading import family_class
from tests.conftest import DATA
from tests.pipeline.generators.checkpoints.made import tf_pickle

FILES = ("stylegan1", "stylegan2", "progan", "progan-in-stylegan")
CLASSES = {"progan": "tfutil.Network"}
OTHER_ORDER = "w = tf.transpose(w, [0, 1, 3, 2])"  # as StyleGAN's repository has it


@dataclass(frozen=True)
class Case:
    """A network of a repository, and what its code made of `io`."""

    file: str
    settings: dict[str, Any]
    variables: dict[str, Any]
    version: int
    io: dict[str, Tensor]

    def pickled(self, path: Path, protocol: int = 4, **settings: Any) -> Path:
        """Write it as its repository does."""
        name = CLASSES.get(self.file, "dnnlib.tflib.network.Network")
        source = OTHER_ORDER if self.file == "progan-in-stylegan" else "w = get_weight()"
        given = {k: v for k, v in (self.settings | settings).items() if v != "left out"}
        return tf_pickle(path, self.variables, given, protocol, name, version=self.version, source=source)


def facts(file: str) -> dict[str, Any]:
    with np.load(DATA / f"tf-{file}.npz") as stored:
        found: dict[str, Any] = json.loads(str(stored["facts"]))
    return found


def case(file: str, name: str) -> Case:
    said = facts(file)[name]
    with np.load(DATA / f"tf-{file}.npz") as stored:
        variables = {
            key: stored[f"{name}:{key}" if f"{name}:{key}" in stored else f"base:{key}"]
            for key in said["variables"]
        }
        io = {
            key: torch.from_numpy(stored[f"{name}@{key}"])
            for key in ("z", "c", "w", "wplus", "image")
            if f"{name}@{key}" in stored
        }
    return Case(file, said["settings"], variables, said["version"], io)


def network_of(checkpoint: Checkpoint) -> LayeredGenerator:
    return family_class(checkpoint.family).from_state_dict(
        checkpoint.state, conv_clamp=checkpoint.conv_clamp, **checkpoint.settings
    )


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def check(checkpoint: Checkpoint, io: dict[str, Tensor]) -> None:
    network = network_of(checkpoint)
    c = io["c"] if network.c_dim else None
    assert (network.c_dim, network.z_dim) == (io["c"].shape[1], io["z"].shape[1])
    w = network.map(io["z"], c)
    if "w" in io:
        assert distance(w[:, 0], io["w"]) <= 1e-5
        assert distance(network.synthesize(io["wplus"]), io["image"]) <= 1e-4
    else:
        assert distance(network.synthesize(w), io["image"]) <= 1e-4


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in facts(file)])
def test_it_renders_what_its_code_renders(tmp_path: Path, file: str, name: str) -> None:
    found = case(file, name)
    checkpoint = read_checkpoint(found.pickled(tmp_path / "x.pkl"))
    assert checkpoint.family == file.partition("-")[0]
    check(checkpoint, found.io)


@pytest.mark.parametrize("protocol", [2, 3, 5])
@pytest.mark.parametrize("file", FILES)
def test_every_protocol(tmp_path: Path, file: str, protocol: int) -> None:
    found = case(file, "base")
    check(read_checkpoint(found.pickled(tmp_path / "x.pkl", protocol)), found.io)


# Settings that the published code has and these networks do not, or has not at all.
REFUSED = [
    ("stylegan1", {"use_styles": False}, "'use_styles' is False, which is not rendered"),
    ("stylegan1", {"nonlinearity": "swish"}, "'nonlinearity' is 'swish'"),
    ("stylegan1", {"fused_scale": "sometimes"}, "'fused_scale' is 'sometimes'"),
    ("stylegan1", {"blur_filter": [[1, 2], [3]]}, "'blur_filter' is"),
    ("stylegan1", {"blur_filter": [1, -1]}, "'blur_filter' is"),
    ("stylegan1", {"mapping_lrmul": 0}, "'mapping_lrmul' is 0"),
    ("stylegan1", {"structure": "spiral"}, "'structure' is 'spiral'"),
    ("stylegan1", {"use_noise": "yes"}, "'use_noise' is 'yes'"),
    ("stylegan1", {"resolution": 64}, "'resolution' is 64, but its variables are those of 16"),
    ("stylegan1", {"label_size": 7}, "'label_size' is 7, but its variables are those of 0"),
    ("stylegan1", {"const_input_layer": False}, "'const_input_layer' does not fit"),
    ("stylegan1", {"use_wavelets": True}, "'use_wavelets' = True is of no published network"),
    ("stylegan2", {"nonlinearity": "cubic"}, "'nonlinearity' is 'cubic'"),
    ("stylegan2", {"architecture": "resnet"}, "'architecture' is 'resnet', but its variables are 'skip'"),
    ("stylegan2", {"architecture": "tree"}, "'architecture' is 'tree'"),
    ("stylegan2", {"resample_kernel": [[1, 2, 1]]}, "'resample_kernel' is"),
    ("stylegan2", {"synthesis_func": "G_synthesis_stylegan_revised"}, "'synthesis_func' does not fit"),
    ("stylegan2", {"synthesis_func": "G_mine"}, "'synthesis_func' is 'G_mine'"),
    ("stylegan2", {"use_wavelets": 1}, "'use_wavelets' = 1 is of no published network"),
    ("stylegan2", {"conv_clamp": -1}, "'conv_clamp' is -1"),
    ("progan", {"label_size": 6}, "'label_size' is 6"),
    ("progan", {"label_size": 2}, "'latent_size' is 6, but its variables are those of 4"),
    ("progan", {"fused_scale": False}, "'fused_scale' does not fit"),
    ("progan", {"tanh_at_end": True}, "'tanh_at_end' = True is of no published network"),
    ("progan", {"pixelnorm_epsilon": [1]}, r"'pixelnorm_epsilon' is \[1\]"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "settings", "words"), REFUSED)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, file: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(case(file, "base").pickled(tmp_path / "x.pkl", **settings))


@pytest.mark.parametrize("file", FILES)
def test_without_settings_the_variables_tell(tmp_path: Path, file: str) -> None:
    found = case(file, "base")
    left_out = dict.fromkeys(found.settings, "left out")
    check(read_checkpoint(found.pickled(tmp_path / "x.pkl", **left_out)), found.io)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    found = case("stylegan1", "lrmul")
    settings = {"mapping_lrmul": np.float64(0.1), "resolution": np.int64(16), "use_noise": np.bool_(True)}
    check(read_checkpoint(found.pickled(tmp_path / "x.pkl", **settings)), found.io)


def test_a_network_of_equal_widths_tells_its_order_by_its_code(tmp_path: Path) -> None:
    """No shape tells [k, k, in, out] from [k, k, out, in] there; a file that was saved again keeps its code."""
    for file, version in (("progan", 3), ("progan-in-stylegan", 3)):
        found = case(file, "same-width")
        assert (
            len({array.shape for name, array in found.variables.items() if name.endswith("Conv0_up/weight")}) == 1
        )
        again = Case(file, found.settings, found.variables, version, found.io)
        check(read_checkpoint(again.pickled(tmp_path / "x.pkl")), found.io)


@pytest.mark.parametrize("version", [1, 6, "4", None])
def test_other_versions_are_refused(tmp_path: Path, version: Any) -> None:
    found = case("stylegan1", "base")
    odd = Case(found.file, found.settings, found.variables, version, found.io)
    with pytest.raises(CheckpointError, match="the versions 2, 3, 4, 5 are read"):
        read_checkpoint(odd.pickled(tmp_path / "x.pkl"))


def test_a_list_that_holds_itself(tmp_path: Path) -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    with pytest.raises(CheckpointError, match="'blur_filter' is"):
        read_checkpoint(case("stylegan1", "base").pickled(tmp_path / "x.pkl", blur_filter=endless))


def test_a_fixed_structure_never_grows(tmp_path: Path) -> None:
    found = case("stylegan1", "fixed")
    found.variables["synthesis/lod"] = found.variables["lod"] = np.float32(1.5)
    check(read_checkpoint(found.pickled(tmp_path / "x.pkl")), found.io)
    with pytest.raises(CheckpointError, match="had grown"):
        read_checkpoint(found.pickled(tmp_path / "x.pkl", structure="auto"))
