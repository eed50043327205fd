"""Every stage on a pretended GPU: nowhere does a tensor there meet one in ordinary memory.

What this proves and what it does not: docs/performance.md, "On a GPU".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.classifiers.architectures import ARCHITECTURES, build_network
from pipeline.composition import channels_after
from pipeline.encoders import encode, open_encoder
from pipeline.encoders.checkpoints import KINDS as ENCODERS
from pipeline.encoders.importing import import_weights
from pipeline.generators import open_generator
from pipeline.generators.loading import forget_generators
from pipeline.perceptual import load_perceptual
from pipeline.perceptual.vgg16 import VGG16Perceptual
from stages.augment.modes import MODES
from stages.evaluate.attacks import ATTACKS
from stages.evaluate.recipes import RECIPES
from tests.conftest import Finished, Tiny, run_pipeline, write_manifest
from tests.pipeline.datasets.samples import write_image
from tests.pipeline.encoders import made as encoders
from tests.pipeline.generators.tiny_states import FAMILIES
from tests.pretended_device import pretended_cuda

SMALL_ATTACKS = ("--attack-samples", "2", "--pgd-steps", "1", "--om-steps", "1", "--advmix-steps", "1",
                 "--advmix-restarts", "2")  # fmt: skip
SMALL_CLASSIFIER = ("--width", "4", "--steps", "2", "--train-batch", "4")


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """Networks that a process keeps are read anew by the tests that follow."""
    yield
    forget_generators()
    open_encoder.cache_clear()
    load_perceptual.cache_clear()


def on_card(*arguments: str | Path, workers: bool = True) -> Finished:
    extra = ("--device", "cuda", *(("--workers", "0") if workers else ()))
    with pretended_cuda() as card:
        done = run_pipeline(*arguments, *extra)
    assert done.code == 0, done.err
    assert card.calls > 100  # it did compute there
    return done


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of two images in each of two splits."""
    folder = tmp_path_factory.mktemp("eight")
    for split in ("train", "test"):
        for place, kind in enumerate(("cat", "dog")):
            for number in range(2):
                write_image(folder / "images" / split / kind / f"{number}.png", 40, 30, seed=place)
    return write_manifest(folder / "eight.toml", name="eight", format="folder", resolution=32, root="images",
                          splits=["train", "test"])  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tiny: Tiny, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("encoder") / "b"
    on_card("train-encoder", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "2",
            "--snapshot", "1", "--train-batch", "2", "--passes", "2", "--threads", "1", workers=False)  # fmt: skip
    return build / "encoder" / "encoder.toml"


@pytest.fixture(scope="module")
def invert(tiny: Tiny, dataset: Path) -> Callable[..., Finished]:
    def run(build: Path, *extra: str | Path) -> Finished:
        return on_card("invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "2", *extra)

    return run


@pytest.mark.parametrize(
    "extra",
    [
        ["--method", "lpips", "--store-images"],
        ["--method", "lpips", "--space", "w", "--batch-size", "3"],
        ["--method", "algorithm1"],
        ["--method", "algorithm1", "--codes", "2", "--space", "w"],
    ],
)
def test_inversion(invert: Callable[..., Finished], tmp_path: Path, extra: list[str]) -> None:
    invert(tmp_path / "b", *extra)


@pytest.mark.parametrize("method", ["encoder", "hybrid"])
def test_inversion_with_an_encoder(
    invert: Callable[..., Finished], encoder: Path, tmp_path: Path, method: str
) -> None:
    invert(tmp_path / "b", "--method", method, "--encoder", encoder)


def test_trainings(tiny: Tiny, encoder: Path, dataset: Path, tmp_path: Path) -> None:
    shared = ("--dataset", dataset, "--build", tmp_path / "b", "--threads", "1")
    sizes = ("--channels", "8,8,8,8", "--discriminator-channels", "4,4,8,8", "--z-dim", "8", "--r1-interval", "1")
    for family in ("stylegan2", "stylegan1"):
        on_card("train-generator", *shared, "--family", family, "--images", "8", "--snapshot", "4", *sizes,
                "--train-batch", "4", "--judge-epochs", "1", "--colour-transport", "1", "--fresh",
                workers=False)  # fmt: skip
    on_card("shift-generator", *shared, *tiny.networks, "--encoder", encoder, "--steps", "2", "--snapshot", "1",
            "--train-batch", "2", workers=False)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A build with a classifier and directions."""

    build: Path
    classifier: Path


@pytest.fixture(scope="module")
def prepared(invert: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(invert, tmp_path_factory.mktemp("builds") / "b", codes=1)


def prepare(invert: Callable[..., Finished], build: Path, codes: int) -> Prepared:
    """Invert, pack, train a classifier, find directions."""
    invert(build, "--method", "lpips", "--codes", str(codes))
    on_card("shard", "--build", build, "--variants", "none", "--base", "reconstruction", "--name", "nominal")
    on_card("evaluate", "--build", build, "--shards", "nominal", "--seeds", "1", *SMALL_CLASSIFIER)
    classifier = build / "evaluate" / "classifiers" / "nominal-0.toml"
    on_card("directions", "--build", build, "--method", "pca", "--name", "umap", "--samples", "60", "--components",
            "2", "--space", "activations", "--score-samples", "3", "--classifier", classifier, "--batch-size", "2",
            workers=False)  # fmt: skip
    return Prepared(build, classifier)


def augment(prepared: Prepared, mode: str) -> None:
    on_card("augment", "--build", prepared.build, "--mode", mode, "--variants", "2", "--classifier",
            prepared.classifier)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_variants(prepared: Prepared, mode: str) -> None:
    augment(prepared, mode)


def test_variants_of_several_codes(invert: Callable[..., Finished], tmp_path: Path) -> None:
    several = prepare(invert, tmp_path / "b", codes=2)
    for mode in ("mix", "advmix", "natra", "dmat"):
        augment(several, mode)
    on_card("shard", "--build", several.build, "--variants", "mix,dmat", "--base", "reconstruction", "--flagged")


def test_shards_and_measures(prepared: Prepared) -> None:
    on_card("augment", "--build", prepared.build, "--mode", "random", "--name", "noise")
    on_card("shard", "--build", prepared.build, "--variants", "noise", "--base", "reconstruction", "--flagged",
            "--format", "webdataset,parquet,dmat", "--batch-size", "3")  # fmt: skip
    on_card("evaluate", "--build", prepared.build, "--shards", ",".join(f"noise+{name}" for name in RECIPES),
            "--attacks", ",".join(ATTACKS), "--name", "all", "--seeds", "1", *SMALL_CLASSIFIER,
            *SMALL_ATTACKS)  # fmt: skip


def test_an_on_manifold_set(tiny: Tiny, dataset: Path, tmp_path: Path) -> None:
    arguments = (
        "build-om-imagenet",
        "--dataset",
        dataset,
        "--build",
        tmp_path / "b",
        *tiny.networks,
        "--steps",
        "1",
    )
    on_card(*arguments, "--dry-run")
    on_card(*arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_generators_in_half_precision(family: str) -> None:
    with pretended_cuda() as card:
        kind, state = FAMILIES[family]
        network = kind.from_state_dict(state()).to("cuda").set_precision(torch.bfloat16)
        c = torch.eye(network.c_dim, device="cuda")[:2] if network.c_dim else None
        w = network.map(torch.randn(2, network.z_dim).to("cuda"), c, truncation_psi=0.7).requires_grad_(True)
        for noise in ("const", "none", "random"):
            images = network.synthesize(w, noise=noise)
            (gradient,) = torch.autograd.grad(images.square().sum(), w)
            assert images.is_cuda
            assert torch.isfinite(gradient).all()
        middle = network.num_layers // 2
        assert network.resume(network.activations(w, middle), w, middle).is_cuda
        assert channels_after(network, middle) > 0
        assert card.calls > 10


def test_perceptual_nets_and_classifiers() -> None:
    with pretended_cuda():
        images = torch.rand(2, 3, 32, 32, device="cuda") * 2 - 1
        net = VGG16Perceptual().to("cuda")
        assert net.distance(images, net.target(-images)).is_cuda
        for name in ARCHITECTURES:
            network = build_network(name, 3, 32, width=1, input_size=16 if name == "vgg5" else 0).to("cuda")
            assert network(images).is_cuda


@pytest.mark.parametrize("kind", ENCODERS)
def test_other_people_s_encoders(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    name = f"placed-{kind.lower()}"
    import_weights(encoders.write(tmp_path / "x.pt", encoders.checkpoint(kind)), name)
    with pretended_cuda():
        loaded, generator = open_encoder(name, name, "cuda"), open_generator(name, "cuda").network
        codes = encode(loaded.network, generator, torch.zeros(2, 3, 32, 32, device="cuda"), passes=2)
        assert codes.is_cuda
        assert torch.isfinite(codes).all()
