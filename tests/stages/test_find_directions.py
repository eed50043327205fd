"""Directions: eq. 11 on planted axes, scores repeated by hand, the command from end to end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.build import open_build
from pipeline.classifiers import load_classifier
from pipeline.directions import Directions, edit, read_directions
from pipeline.generators import open_generator
from pipeline.listing import create_build
from pipeline.perceptual import load_perceptual
from stages.directions.axes import find_axes, regress
from stages.directions.config import DirectionsConfig
from stages.directions.ranges import choose_ranges
from stages.directions.sampling import Samples, draw_samples
from tests.conftest import Finished, Tiny, declare_weights, run_pipeline
from tests.pipeline.generators.tiny_states import FAMILIES

SMALL = ["--samples", "300", "--components", "3", "--score-samples", "6", "--epochs", "20"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear classifier of random weights: its prediction is easily changed."""
    weight = torch.randn(10, 3 * 32 * 32, generator=torch.Generator().manual_seed(0))
    state = {"head.weight": weight, "head.bias": torch.zeros(10)}
    folder = tmp_path_factory.mktemp("classifiers")
    return declare_weights(folder, "judge", state, architecture="linear", num_classes=10, resolution=32)


@pytest.fixture(scope="module")
def build(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build that only has its samples."""
    return create_build(tmp_path_factory.mktemp("directions") / "b", "color-digits").root


def directions(build: Path, tiny: Tiny, *extra: str | Path) -> Finished:
    return run_pipeline("directions", "--build", build, *tiny.networks, *SMALL, *extra)


# --- the method ---------------------------------------------------------------------------------------------------


def test_eq_11_finds_planted_axes_where_plain_least_squares_does_not() -> None:
    rng = np.random.default_rng(0)
    planted = np.linalg.qr(rng.normal(size=(20, 3)))[0].T
    hidden = rng.normal(size=(2000, 3))
    w = 5 + (hidden * [3, 2, 1]) @ planted + 0.3 * rng.normal(size=(2000, 20))
    spread = hidden * [1, 0.2, 0.01] + 8
    coordinates = spread @ np.linalg.qr(rng.normal(size=(3, 3)))[0]  # as UMAP's: far from zero, nearly collinear
    found = regress(coordinates, w, np.ones(20, bool))
    assert found.condition_plain > 50
    assert found.condition == pytest.approx(1)
    assert np.abs(found.units @ planted.T).diagonal().min() > 0.99
    assert found.explained > 0.85
    plain = np.linalg.lstsq(coordinates, w - w.mean(axis=0), rcond=None)[0]
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.abs(plain @ planted.T).max(axis=0).min() < 0.9


def test_a_constant_coordinate_is_left_out() -> None:
    rng = np.random.default_rng(0)
    coordinates = np.column_stack([rng.normal(size=100), np.ones(100)])
    assert regress(coordinates, rng.normal(size=(100, 4)), np.ones(4, bool)).units.shape == (1, 4)


def test_pca_of_w_gives_its_principal_components(tiny: Tiny) -> None:
    config = DirectionsConfig(method="pca", samples=500, components=4, truncation_psi=0.7)
    samples = draw_samples(open_generator(str(tiny.generator)).network, "w", config)
    assert samples.layers == tuple(range(8))
    found = find_axes(samples.features, samples.w, samples.free, config)
    components = np.linalg.svd(samples.w - samples.w.mean(axis=0), full_matrices=False)[2][:4]
    np.testing.assert_allclose(np.abs(found.units @ components.T), np.eye(4), atol=1e-3)


def drawn(family: str, layer: int, **settings: object) -> tuple[Samples, DirectionsConfig]:
    network_class, state = FAMILIES[family]
    config = DirectionsConfig(method="pca", samples=400, components=2, layer=layer, **settings)  # type: ignore[arg-type]
    return draw_samples(network_class.from_state_dict(state()), "activations", config), config


@pytest.mark.parametrize(
    ("family", "layer", "layers", "free"),
    [
        ("dcgan", 0, (0,), range(10)),
        ("progan", 1, (0,), range(10)),
        ("biggan", 0, (0,), range(4)),
        ("biggan", 2, (2,), range(6, 10)),
        ("biggan-deep", 0, tuple(range(5)), range(6)),
        ("stylegan1", 1, tuple(range(8)), range(10)),
        ("stylegan3-r", 0, tuple(range(6)), range(10)),
    ],
)
def test_axes_of_activations_touch_what_z_decides(
    family: str, layer: int, layers: tuple[int, ...], free: range
) -> None:
    samples, config = drawn(family, layer)
    assert samples.layers == layers
    assert np.flatnonzero(samples.free).tolist() == list(free)
    found = find_axes(samples.features, samples.w, samples.free, config)
    np.testing.assert_allclose(np.linalg.norm(found.units, axis=1), 1, atol=1e-5)
    assert (found.units[:, ~samples.free] == 0).all()


def test_activations_of_a_linear_layer_give_its_singular_vectors() -> None:
    samples, config = drawn("biggan", 0)
    found = find_axes(samples.features, samples.w, samples.free, config)
    network_class, state = FAMILIES["biggan"]
    weight = network_class.from_state_dict(state()).state_dict()["linear.weight"].numpy()
    strongest = np.linalg.svd(weight)[2][:2]
    assert np.abs(found.units[:, :4] @ strongest.T).max(axis=1).min() > 0.9


@pytest.mark.parametrize(
    ("text", "layers", "fine", "ranges"),
    [
        (None, range(8), (5, 6, 7), [(0, 4), (5, 7), (0, 7)]),
        (None, range(8), (2, 5, 6, 7), [(0, 1), (3, 4), (2, 2), (5, 7), (0, 7)]),
        (None, (0,), (0,), [(0, 0)]),
        (None, (3,), (0,), [(3, 3)]),
        ("0-4, 6,6-6", range(8), (7,), [(0, 4), (6, 6)]),
    ],
)
def test_ranges(text: str | None, layers: range, fine: tuple[int, ...], ranges: list[tuple[int, int]]) -> None:
    assert choose_ranges(text, tuple(layers), fine) == ranges


# --- the command --------------------------------------------------------------------------------------------------


def scored_by_hand(
    found: Directions, w: torch.Tensor, tiny: Tiny, judge: Path, axis: int, column: int
) -> list[float]:
    network, net = open_generator(str(tiny.generator)).network, load_perceptual(str(tiny.perceptual))
    classify = load_classifier(str(judge), 10, 32).network
    plain = network.synthesize(w).clamp(-1, 1)
    effects, flips = [], []
    for r in (2.0, -2.0):
        image = network.synthesize(edit(found, w, axis, found.ranges[column], r)).clamp(-1, 1)
        effects.append(net.distance(image, net.target(plain)))
        flips.append(classify(image).argmax(1) != classify(plain).argmax(1))
    return [float(torch.cat(effects).mean()), float(torch.cat(flips).float().mean())]


def test_the_scores_are_those_of_the_edits(
    tiny: Tiny, finished_build: Path, classifier: Path, copy_of: Callable[[Path], Path]
) -> None:
    target = copy_of(finished_build)
    extra = ["--method", "pca", "--classifier", classifier, "--score-samples", "100", "--batch-size", "7"]
    done = directions(target, tiny, *extra, "--ranges", "0-3,4-7", "--json")
    assert done.code == 0, done.err
    assert done.json["scored_on"] == "inverted"
    opened = open_build(target)
    samples, found = opened.samples(), read_directions(opened, "pca")
    rows = np.flatnonzero((samples["split"] == "train") & (samples["status"] == "ok"))
    assert len(rows) > 5
    w = torch.from_numpy(np.asarray(opened.latents()["w"])[rows])
    for axis, column in ((0, 0), (2, 1)):
        effect, flips = scored_by_hand(found, w, tiny, classifier, axis, column)
        assert found.effect[axis, column] == pytest.approx(effect, rel=1e-3)
        assert found.flips[axis, column] == pytest.approx(flips)
    assert found.flips.max() > 0
    assert (np.diff(found.effect.max(axis=1)) <= 0).all()
    assert done.json["irrelevant"] == len(found.irrelevant())


def test_the_command_leaves_pictures_and_a_list(tiny: Tiny, build: Path) -> None:
    done = directions(build, tiny, "--method", "pca", "--name", "pictures", "--json")
    assert done.code == 0, done.err
    assert (done.json["axes"], done.json["scored_on"]) == (3, "random")
    assert done.json["ranges"] == ["0-3", "4-7", "0-7"]
    strips = sorted(path.name for path in Path(done.json["folder"]).iterdir())
    assert strips == sorted(f"u{axis:02d}_{part}.png" for axis in range(3) for part in ("0-3", "4-7", "0-7"))
    sheet = np.asarray(Image.open(Path(done.json["folder"]) / "u00_0-7.png"))
    assert sheet.shape == (4 * 66 - 2, 7 * 66 - 2, 3)
    cells = [sheet[:64, 66 * column : 66 * column + 64].astype(int) for column in range(7)]
    moved = [np.abs(cell - cells[3]).mean() for cell in cells]  # the middle one is not edited
    assert moved[3] == 0
    assert moved[0] > moved[2] > 0
    listed = run_pipeline("directions", "--build", build, "--list", "--json").json
    entry = next(row for row in listed if row["name"] == "pictures")
    assert (entry["method"], entry["axes"]) == ("pca", 3)
    assert entry["irrelevant"][0].startswith("D(u")
    assert entry["irrelevant"][0].endswith(", 4-7)")
    assert "pictures" in run_pipeline("directions", "--build", build, "--list").out


def test_done_is_done_and_other_settings_are_named(tiny: Tiny, build: Path) -> None:
    first = directions(build, tiny, "--method", "pca", "--name", "again", "--json").json
    again = directions(build, tiny, "--method", "pca", "--name", "again", "--json").json
    assert (first.pop("computed"), again.pop("computed")) == (True, False)
    assert first == again
    other = directions(build, tiny, "--method", "pca", "--name", "again", "--step", "1")
    assert other.code == 2
    assert "step: 2.0 → 1.0" in other.err
    fresh = directions(build, tiny, "--method", "pca", "--name", "again", "--step", "1", "--fresh", "--json")
    assert fresh.json["computed"]
    assert read_directions(open_build(build), "again").scored_step == 1.0


@pytest.mark.slow
def test_umap_from_end_to_end(tiny: Tiny, build: Path) -> None:
    done = directions(build, tiny, "--typical", "2", "--json")
    assert done.code == 0, done.err
    found = read_directions(open_build(build), "umap")
    assert (found.method, found.typical, found.axes.shape) == ("umap", 2.0, (3, 16))
    np.testing.assert_allclose(np.linalg.norm(found.axes, axis=1), 1, atol=1e-5)
    assert done.json["condition"] == pytest.approx(1)
    assert done.json["condition_plain"] > 2
    assert done.json["explained"] > 0.2
    assert (found.effect > 0).all()
    assert np.isnan(found.flips).all()


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """UMAP as plain Python, unless it is imported already: to compile it takes longer than a few samples do."""
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)


@pytest.mark.usefixtures("interpreted")
def test_umap_repeats_itself(tiny: Tiny, tmp_path: Path) -> None:
    axes = []
    for name in "ab":
        root = create_build(tmp_path / name, "color-digits").root
        done = directions(root, tiny, "--samples", "100", "--epochs", "5")
        assert done.code == 0, done.err
        axes.append(read_directions(open_build(root), "umap").axes)
    assert axes[0].shape == (3, 16)
    np.testing.assert_array_equal(*axes)


def test_a_generator_without_w(tiny: Tiny, build: Path, tmp_path: Path) -> None:
    state = FAMILIES["dcgan"][1]()
    declared = declare_weights(tmp_path, "tiny-dcgan", state, family="dcgan", resolution=32, fine_layers=[0])
    extra = ["--generator", str(declared), "--method", "pca", "--name", "dcgan"]
    done = directions(build, tiny, *extra, "--layer", "1", "--json")
    assert done.code == 0, done.err
    assert (done.json["ranges"], done.json["irrelevant"]) == (["0-0"], 0)
    wrong = directions(build, tiny, *extra, "--layer", "3", "--fresh")
    assert wrong.code == 2
    assert "--layer 3: generator 'tiny-dcgan' has layers 0 to 2" in wrong.err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--ranges", "0-8"], "--ranges 0-8: give ranges like 0-2,5 within the layers 0-7"),
        (["--ranges", "5-2"], "--ranges 5-2: give ranges"),
        (["--ranges", "fine"], "--ranges fine: give ranges"),
        (["--name", "a/b"], "'a/b' cannot be a name"),
        (["--components", "17"], "--components 17: at most 16 directions"),
        (["--split", "validation"], "the dataset has test, train"),
        (["--generator", "nothing"], "no generator named 'nothing'"),
        (["--samples", "3"], "--samples 3: must be at least 50"),
        (["--classifier", "nowhere.toml"], "there is no classifier at"),
    ],
)
def test_bad_input_is_one_sentence(tiny: Tiny, build: Path, extra: list[str], words: str) -> None:
    done = directions(build, tiny, "--method", "pca", "--name", "bad", *extra)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (build / "directions" / "bad").exists()


def test_no_build_is_one_sentence(tmp_path: Path) -> None:
    done = run_pipeline("directions", "--dataset", "color-digits", cwd=tmp_path)
    assert done.code == 2
    assert "begin one with `pipeline invert" in done.err


def test_activations_that_are_too_large_to_reduce_are_refused(
    tiny: Tiny, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.directions.sampling.MOST_BYTES", 4 * 8 * 32**2 * 100)  # a hundred of 8 channels
    done = directions(build, tiny, "--space", "activations", "--layer", "6")
    assert done.code == 2
    assert "--layer 6: the activations of 300 samples take 0.0 GiB; at most 100 --samples fit there" in done.err


def test_large_images_are_edited_a_few_at_a_time(tiny: Tiny, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are the same, whatever is rendered at once."""
    made = []
    for size in ("64", "1"):
        extra = ("--method", "pca", "--components", "1", "--name", f"by-{size}", "--batch-size", size)
        assert directions(build, tiny, *extra).code == 0
        pictures = sorted((build / "directions" / f"by-{size}").glob("*.png"))
        made.append([np.asarray(Image.open(path)).astype(int) for path in pictures])
    assert len(made[0]) == len(made[1]) > 0
    for one, other in zip(*made, strict=True):
        assert np.abs(one - other).max() <= 1
