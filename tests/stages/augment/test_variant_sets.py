"""Variant sets made by the command line, with a classifier, and what becomes of them in shards."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.build import Build, open_build
from pipeline.classifiers import load_classifier
from pipeline.classifiers.manifest import write_classifier
from pipeline.classifiers.vgg5 import TruncatedVGG
from pipeline.directions import Directions, write_directions
from pipeline.errors import PipelineError
from pipeline.generators import load_generator, open_generator
from pipeline.images import to_float, to_uint8
from pipeline.store import open_group
from stages.augment.config import AugmentConfig, resolve
from stages.augment.measure import measure, measure_unrelated, unrelated_distance
from stages.augment.modes.base import Context, Sources, Variants, no_partner
from stages.augment.setup import make_context
from stages.shard.config import ShardConfig
from stages.shard.stage import Shard
from tests.conftest import Tiny, run_pipeline


def save_classifier(folder: Path, name: str, num_classes: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = TruncatedVGG(num_classes, width=4)
    write_classifier(folder, name, network, architecture="vgg5", num_classes=num_classes, resolution=32, width=4)
    return folder / f"{name}.toml"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifiers"), "any", 10)


@pytest.fixture(scope="module")
def build(finished_build: Path, tiny: Tiny, classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with directions and a set of each kind: hard labels, soft labels, stored pixels."""
    target = tmp_path_factory.mktemp("sets") / "b"
    shutil.copytree(finished_build, target)
    loaded = open_generator(str(tiny.generator))
    axes, ones = np.eye(16, dtype=np.float32)[:2], np.ones((2, 2), np.float32)
    directions = Directions(
        "given", "pca", np.zeros(16, np.float32), axes, np.ones(2, np.float32), [(0, 3), (4, 7)], ones,
        ones * np.nan, loaded.sha256, fine_layers=(4, 5, 6, 7),
    )  # fmt: skip
    write_directions(open_build(target), directions)
    for mode, extra in (
        ("natra", ["--directions", "given"]),
        ("adv", []),
        ("mixi", ["--beta", "1"]),
        ("advmix", []),
    ):
        augment(target, mode, "--classifier", classifier, *extra)
    return target


def augment(build: Path, mode: str, *extra: str | Path) -> None:
    done = run_pipeline(
        "augment", "--build", build, "--mode", mode, "--variants", "2", "--limit", "12", "--workers", "0", *extra
    )
    assert done.code == 0, done.err


def read(build: Path, name: str, *columns: str) -> dict[str, Any]:
    """Columns of a set's first 12 samples."""
    group: Any = open_group(build / "variants" / f"{name}.zarr")
    return {column: group[column][:24] for column in columns}


def shard(build: Path, name: str, variants: str, *extra: str) -> Any:
    done = run_pipeline(
        "shard", "--build", build, "--variants", variants, "--name", name, "--workers", "0", "--json", *extra
    )
    assert done.code == 0, done.err
    return done.json


@pytest.mark.parametrize(("name", "moves"), [("advmix", True), ("adv", False)])
def test_what_is_told_is_that_of_the_image_shown(build: Path, classifier: Path, name: str, moves: bool) -> None:
    generator = load_generator(str(open_build(build).variants(name).attrs["generator"]))
    latents: Any = open_group(build / "latents.zarr")["w"]
    told = read(build, name, "w", "source", "label", "valid", "distance", "fooled", "moved")
    rows = np.flatnonzero(told["valid"])
    assert len(rows) >= 20
    w = told["w"][rows]
    group: Any = open_group(build / "variants" / f"{name}.zarr")
    pixels = group["image"][:24][rows] if "image" in group else to_uint8(generator.synthesize(torch.tensor(w)))
    logits = load_classifier(str(classifier), 10, 32).network(to_float(pixels))
    wrong = logits.argmax(dim=1).numpy() != told["label"][rows]
    assert (told["fooled"][rows] != wrong).sum() <= 1  # to the rounding of a pixel
    assert (told["distance"][rows] > 0).all()
    moved = np.abs(w - latents[:][told["source"][rows]]).max(axis=(1, 2))
    np.testing.assert_allclose(told["moved"][rows], moved, atol=1e-6)
    assert (moved.min() > 0) == moves


def test_an_attack_sees_pixels_as_they_are_stored(build: Path, classifier: Path) -> None:
    opened = open_build(build)
    config = resolve(AugmentConfig(mode="adv", classifier=str(classifier)))
    context = make_context(
        opened, config, opened.variants("adv").attrs["generator"], (7,), np.arange(4), 4, torch.device("cpu")
    )
    assert context.classify is not None
    images = 3 * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = load_classifier(str(classifier), 10, 32).network
    found = context.classify(images)
    torch.testing.assert_close(found, network(images.clamp(-1, 1)), rtol=1e-4, atol=1e-5)
    assert (found - network(images)).abs().max() > 0.01 * found.abs().max()


def test_a_source_that_is_wrong_already_is_told(build: Path, classifier: Path) -> None:
    latents: Any = open_group(build / "latents.zarr")["w"]
    told = read(build, "advmix", "source", "label", "valid", "source_fooled")
    rows = np.flatnonzero(told["valid"])
    generator = load_generator(str(open_build(build).variants("advmix").attrs["generator"]))
    images = to_float(to_uint8(generator.synthesize(torch.tensor(latents[:][told["source"][rows]]))))
    wrong = load_classifier(str(classifier), 10, 32).network(images).argmax(dim=1).numpy() != told["label"][rows]
    assert 0 < wrong.sum() < len(wrong)
    assert (told["source_fooled"][rows] != wrong).sum() <= 1  # to the rounding of a pixel


def test_a_mixup_fools_where_another_class_than_its_larger_part_is_named(build: Path, classifier: Path) -> None:
    told = read(build, "mixi", "image", "soft_label", "label", "valid", "fooled")
    rows = np.flatnonzero(told["valid"])
    larger = told["soft_label"][rows].argmax(axis=1)
    assert (larger != told["label"][rows]).any()
    answers = load_classifier(str(classifier), 10, 32).network(to_float(told["image"][rows])).argmax(dim=1)
    assert ((told["fooled"][rows] == 1) != (answers.numpy() != larger)).sum() <= 1  # two classes may be as likely


def test_a_source_that_cannot_be_read_any_more_is_a_failure_of_its_own(
    few_digits: Path, tiny: Tiny, classifier: Path, tmp_path: Path
) -> None:
    shutil.copytree(few_digits.parent, tmp_path / "few")
    dataset, build = tmp_path / "few" / few_digits.name, tmp_path / "b"
    invert = ["invert", "--dataset", dataset, "--build", build, *tiny.networks, "--steps", "1", "--workers", "0"]
    assert run_pipeline(*invert).code == 0
    lost = open_build(build).samples().query("split == 'train'").iloc[3]
    source = tmp_path / "few" / "images" / lost["source"]
    source.unlink()
    done = run_pipeline("augment", "--build", build, "--mode", "adv", "--variants", "2", "--classifier", classifier,
                        "--workers", "0", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert (done.json["failed"], done.json["valid"]) == (2, 98)
    assert read(build, "adv", "valid")["valid"].tolist() == [1] * 6 + [0] * 2 + [1] * 16


def test_no_layers_are_told_of_sets_that_replace_none(build: Path) -> None:
    told = {name: "fine_layers" in open_build(build).variants(name).attrs for name in ("advmix", "natra", "adv")}
    assert told == {"advmix": True, "natra": False, "adv": False}
    assert run_pipeline("report", "--build", build).code == 0
    page = (build / "report" / "index.html").read_text()
    assert "advmix, layers 4, 5, 6, 7<br>" in page
    assert "natra<br>" in page


def test_an_image_that_is_not_finite_does_not_count(tiny: Tiny) -> None:
    network = open_generator(str(tiny.generator)).network
    w = network.map(torch.randn(3, network.z_dim, generator=torch.Generator().manual_seed(0)))
    rows = torch.arange(3)
    images = network.synthesize(w).clamp(-1, 1)
    images[1, 0, 0, 0] = torch.nan
    made = Variants(w, rows, images)
    context = Context(
        map=network.map, render=lambda w, codes: network.synthesize(w), z_dim=network.z_dim, fine_layers=(7,),
        pool=rows, read_w=lambda r: w[r], read_codes=lambda r: None, read_labels=lambda r: 0 * r,
        read_images=lambda r: images, num_classes=2, config=AugmentConfig(),
    )  # fmt: skip
    sources = Sources(w, rows, list("abc"), 0 * rows, 0 * rows)
    measured = measure(made, sources, context, str(tiny.perceptual), np.inf, keep_pixels=False)
    assert measured.pixels is None
    assert measured.broken.tolist() == measured.flagged.tolist() == [False, True, False]


def test_a_source_is_rendered_once_for_all_its_variants(tiny: Tiny) -> None:
    network = open_generator(str(tiny.generator)).network
    z = torch.randn(9, network.z_dim, generator=torch.Generator().manual_seed(0))
    rows, numbers = torch.arange(3).repeat_interleave(3), torch.arange(3).repeat(3)
    w = network.map(z)[rows]
    sources = Sources(w, rows, [str(i) for i in range(9)], rows % 2, numbers)
    made = Variants(network.map(z), no_partner(sources))
    rendered: list[int] = []

    def render(w: torch.Tensor, codes: object) -> torch.Tensor:
        rendered.append(len(w))
        return network.synthesize(w)

    found = []
    for slots in (1, 64):
        context = Context(
            map=network.map, render=render, z_dim=network.z_dim, fine_layers=(7,), pool=rows, slots=slots,
            read_w=lambda r: w[r], read_codes=lambda r: None, read_labels=lambda r: r % 2, num_classes=2,
            read_images=lambda r: w[r], config=AugmentConfig(), classify=lambda x: x.mean(dim=(2, 3))[:, :2],
        )  # fmt: skip
        found.append(measure(made, sources, context, str(tiny.perceptual), 0.5, keep_pixels=True))
    assert rendered == [1] * (9 + 3) + [9, 3]
    one, other = found
    np.testing.assert_allclose(one.distance, other.distance, atol=1e-4)
    np.testing.assert_array_equal(one.source_fooled, other.source_fooled)
    np.testing.assert_array_equal(one.fooled, other.fooled)
    assert one.pixels is not None
    assert one.pixels.shape == (9, 32, 32, 3)


def test_the_bound_is_measured_once_for_a_build(
    build: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (str(tiny.generator), str(tiny.perceptual), "cpu")
    assert len(list((build / ".cache").glob("unrelated-*.json"))) == 1
    bound = unrelated_distance(*names, Build(tmp_path))
    assert bound == pytest.approx(measure_unrelated(*names), rel=1e-4)
    assert bound > 0
    monkeypatch.setattr("stages.augment.measure.measure_unrelated", None)
    assert unrelated_distance(*names, Build(tmp_path)) == bound


def test_chunks_and_batches_make_no_difference(build: Path, classifier: Path) -> None:
    augment(build, "advmix", "--classifier", classifier, "--name", "cut", "--chunk-size", "5", "--batch-size", "3")
    one, other = (read(build, name, "w", "restarts", "valid") for name in ("advmix", "cut"))
    valid = one["valid"] == 1
    np.testing.assert_array_equal(one["valid"], other["valid"])
    alike = valid & (one["restarts"] == other["restarts"])
    assert alike.sum() >= valid.sum() - 1  # one may lie on the border, where rounding decides
    assert (np.abs(one["w"][alike] - other["w"][alike]) > 1e-5).mean() < 0.01


def test_only_the_fooling_ones_count_where_asked(build: Path, classifier: Path) -> None:
    augment(build, "randmix", "--classifier", classifier, "--name", "every")
    augment(build, "randmix", "--classifier", classifier, "--name", "few", "--keep", "fooling")
    every, few = (read(build, name, "valid", "fooled") for name in ("every", "few"))
    assert 0 < few["valid"].sum() < every["valid"].sum()
    np.testing.assert_array_equal(few["valid"], every["valid"] & every["fooled"])


def test_soft_labels_and_stored_pixels_reach_the_shards(build: Path) -> None:
    shard(build, "soft", "natra,mixi", "--min-shards", "1")
    root = build / "shards" / "soft"
    table = pd.concat(pd.read_parquet(path) for path in root.glob("parquet/*.parquet")).set_index("id")
    soft = np.stack(table["soft_label"].to_list())
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
    originals = (table["kind"] == "original").to_numpy()
    np.testing.assert_array_equal(soft[originals], np.eye(10)[table["label"][originals]])
    assert (table["lam"][table["kind"] != "mixi"] == 1).all()
    assert table["lam"][table["kind"] == "mixi"].between(0, 1).all()

    ids = open_build(build).samples()["id"].to_numpy()
    made = read(build, "mixi", "source", "partner", "variant", "soft_label", "lam", "image", "valid")
    for row in np.flatnonzero(made["valid"])[::5]:
        entry = table.loc[f"{ids[made['source'][row]]}-mixi-{made['variant'][row]}"]
        shown = np.asarray(Image.open(io.BytesIO(entry["image"]["bytes"])))
        np.testing.assert_array_equal(shown, made["image"][row])
        np.testing.assert_array_equal(entry["soft_label"], made["soft_label"][row])
        assert (entry["partner"], entry["lam"]) == (ids[made["partner"][row]], made["lam"][row])

    with tarfile.open(root / "wds" / "train-000000.tar") as tar:
        facts = [json.load(tar.extractfile(m) or io.BytesIO()) for m in tar if m.name.endswith(".json")]
    assert len(facts) == (~table.index.duplicated()).sum() - len(pd.read_parquet(
        next(root.glob("parquet/test-*"))
    ))  # fmt: skip
    for fact in facts:
        np.testing.assert_allclose(fact["soft_label"], table.loc[fact["id"]]["soft_label"])
        assert fact["lam"] == pytest.approx(table.loc[fact["id"]]["lam"])


def test_other_people_read_soft_labels(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlcroissant

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    shard(build, "read", "mixi")
    root = build / "shards" / "read"
    loaded: Any = datasets.load_dataset(str(root / "parquet"), cache_dir=str(tmp_path))
    assert loaded["train"].features["soft_label"].length == 10
    record = next(iter(mlcroissant.Dataset(jsonld=str(root / "croissant.json")).records("samples")))
    assert np.array(record["samples/soft_label"]).size == 10


def test_sets_with_hard_labels_say_nothing_of_soft_ones(build: Path) -> None:
    shard(build, "hard", "adv")
    table = pd.read_parquet(next((build / "shards" / "hard" / "parquet").glob("train-*")))
    assert not {"soft_label", "lam"} & set(table.columns)


def test_flagged_variants_stay_out_of_shards_unless_asked_for(build: Path) -> None:
    augment(build, "random", "--name", "wild", "--noise-scale", "1000")
    augment(build, "random", "--name", "tame", "--noise-scale", "0.001")
    wild, tame = (read(build, name, "flagged", "valid") for name in ("wild", "tame"))
    assert tame["flagged"].sum() == 0 < tame["valid"].sum()
    assert (wild["flagged"] * wild["valid"]).sum() > 0
    without = shard(build, "clean", "wild,tame", "--base", "none")
    everything = shard(build, "every", "wild,tame", "--base", "none", "--flagged")
    assert everything["samples_random"] - without["samples_random"] == (wild["flagged"] * wild["valid"]).sum()


def test_no_directions_yet(build: Path, classifier: Path) -> None:
    arguments = ("augment", "--build", build, "--name", "x", "--classifier", classifier, "--workers", "0")
    done = run_pipeline(*arguments, "--mode", "natra", "--directions", "other")
    assert done.code == 2
    assert "no directions 'other' yet" in done.err
    assert "augment/x" not in open_build(build).info()["stages"]


def test_a_classifier_of_other_classes_is_refused(build: Path, tmp_path: Path) -> None:
    other = save_classifier(tmp_path, "three", 3)
    arguments = ("augment", "--build", build, "--name", "x", "--mode", "adv", "--workers", "0")
    done = run_pipeline(*arguments, "--classifier", other)
    assert done.code == 2
    assert "tells 3 classes apart, and the dataset has 10" in done.err


def test_soft_labels_where_they_cannot_go(build: Path) -> None:
    arguments = ("shard", "--build", build, "--variants", "mixi", "--name", "x", "--workers", "0")
    done = run_pipeline(*arguments, "--format", "dmat")
    assert done.code == 2
    assert "--format dmat tells a label by the name of a file, so it cannot carry soft labels" in done.err
    stage = Shard(ShardConfig(label="smiling"), "x", ("adv", "mixi"), "any")
    with pytest.raises(PipelineError, match="--label smiling: the soft labels of mixi are of the dataset's own"):
        stage.soft_labels(open_build(build))
