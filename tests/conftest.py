"""Shared parts: tiny networks in real files, real builds made by the real command line."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from hypothesis import settings
from PIL import Image
from safetensors.torch import save_file

from pipeline.cli import main
from pipeline.datasets import load_dataset
from pipeline.generators.stylegan2 import StyleGAN2
from pipeline.perceptual.small import SmallPerceptual

settings.register_profile("steady", deadline=None)  # never assert a time
settings.load_profile("steady")

DATA = Path(__file__).parent / "data"
PIPELINE = (sys.executable, "-c", "from pipeline.cli import main; main()")


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_pipeline(*arguments: str | Path, cwd: Path | None = None) -> Finished:
    """Run the real command line in this process, which has imported the heavy libraries already."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Finished(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def write_manifest(path: Path, **content: object) -> Path:
    """Write a TOML file."""
    path.write_text(tomli_w.dumps(content))
    return path


def declare_weights(path: Path, name: str, state: dict[str, torch.Tensor], **content: object) -> Path:
    """Write safetensors with a manifest beside them."""
    weights = path / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, weights)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    return write_manifest(path / f"{name}.toml", name=name, weights=weights.name, sha256=sha256, **content)


@dataclass(frozen=True)
class Tiny:
    """Manifests of a small random generator and perceptual net for 32x32 images, and commands that use them."""

    folder: Path
    generator: Path
    perceptual: Path

    @property
    def networks(self) -> list[str]:
        return ["--generator", str(self.generator), "--perceptual", str(self.perceptual)]

    def invert(self, build: Path, *extra: str, limit: int = 48, workers: int = 0, steps: int = 4) -> list[str]:
        return [
            "invert", "--dataset", "color-digits", "--build", str(build), *self.networks, "--limit", str(limit),
            "--chunk-size", "16", "--steps", str(steps), "--workers", str(workers), *extra,
        ]  # fmt: skip

    def whole_way(self, build: Path) -> list[list[str]]:
        """Commands from images to shards, without `--workers`; random networks' variants are flagged, and kept.

        A chunk of variants is of many samples, for most of the 1,400 are not inverted.
        """
        augment = ["augment", "--build", str(build), "--chunk-size", "200"]
        return [
            self.invert(build)[:-2],
            [*augment, "--mode", "randmix", "--variants", "2"],
            [*augment, "--mode", "mix", "--variants", "1"],
            ["shard", "--build", str(build), "--variants", "randmix,mix", "--samples-per-shard", "40", "--flagged"],
        ]


@pytest.fixture(autouse=True, scope="session")
def own_weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests measure and import away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Networks small enough that the machinery, not the arithmetic, is what a test spends its time on."""
    folder = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = StyleGAN2(32, {4: 8, 8: 8, 16: 8, 32: 8}, z_dim=12, w_dim=16, mapping_layers=2)
        perceptual = SmallPerceptual((4, 4, 4))
    generator = declare_weights(
        folder, "tiny-generator", network.state_dict(), family="stylegan2", resolution=32, fine_layers=[4, 5, 6, 7]
    )
    return Tiny(folder, generator, declare_weights(folder, "tiny-lpips", perceptual.state_dict(), family="small"))


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 100 of the color-digits as files, for what goes through a whole dataset."""
    folder = tmp_path_factory.mktemp("few")
    _, reader = load_dataset("color-digits")
    for sample in reader.scan().groupby(["split", "label"]).head(5).itertuples():
        path = folder / "images" / sample.split / str(sample.label) / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(reader.load(sample.source).pixels).save(path)
    return write_manifest(
        folder / "few.toml", name="few", format="folder", resolution=32, root="images", splits=["train", "test"]
    )


@pytest.fixture(scope="session")
def finished_build(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A build that went the whole way: 48 digits, randmix and mix variants, shards. Tests only read it."""
    build = tmp_path_factory.mktemp("v1.0 é builds") / "digits"
    for arguments in tiny.whole_way(build):
        done = run_pipeline(*arguments, "--workers", "0")
        assert done.code == 0, done.err
    before = tree_digest(build)
    yield build
    assert differing(tree_digest(build), before) == [], "a test has written to the build that all share"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a build, for tests that damage it."""

    def copy(build: Path) -> Path:
        target = tmp_path / "copy"
        subprocess.run(["cp", "-r", str(build), str(target)], check=True)
        return target

    return copy


def tree_digest(root: Path, patterns: Sequence[str] = ("**/*",)) -> dict[str, str]:
    """Digest of every file below a folder, by relative path."""
    paths = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)
    }


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of the files that two trees do not share byte for byte, in order; short, where a diff would be long."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
