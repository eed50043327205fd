"""`pipeline evaluate`: what it writes, what it does again, and what it refuses."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.classifiers import load_classifier
from pipeline.files import sha256_file
from pipeline.sealed import read_sealed, write_sealed
from tests.conftest import Finished, run_pipeline

QUICK = ("--width", "4", "--steps", "6", "--train-batch", "16", "--workers", "0", "--device", "cpu")
WEAK = (
    "--attack-samples",
    "4",
    "--pgd-steps",
    "2",
    "--om-steps",
    "2",
    "--advmix-steps",
    "1",
    "--advmix-restarts",
    "2",
)


@pytest.fixture(scope="module")
def prepared(finished_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set `randmix-mix`, and the originals alone as `nominal`."""
    target = tmp_path_factory.mktemp("evaluate") / "b"
    shutil.copytree(finished_build, target)
    done = run_pipeline("shard", "--build", target, "--variants", "none", "--name", "nominal", "--workers", "0")
    assert done.code == 0, done.err
    return target


@pytest.fixture
def build(prepared: Path, copy_of: Callable[[Path], Path]) -> Path:
    return copy_of(prepared)


def evaluate(build: Path, *extra: str, seeds: int = 1) -> Finished:
    done = run_pipeline("evaluate", "--build", build, *QUICK, "--seeds", str(seeds), "--json", *extra)
    assert done.code == 0, done.err
    return done


def stamps(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*.*")
        if path.is_file()
    }


def test_a_row_for_each_set_and_a_column_for_each_attack(build: Path) -> None:
    done = evaluate(build, "--shards", "nominal,randmix-mix,nominal+mixup", "--attacks", "clean,pgd,om-pgd,advmix",
                    *WEAK, seeds=2)  # fmt: skip
    table = done.json["table"]
    assert [(cell["row"], cell["attack"]) for cell in table] == [
        (row, attack)
        for row in ("nominal", "randmix-mix", "nominal+mixup")
        for attack in ("clean", "pgd", "om-pgd", "advmix")
    ]
    assert all(cell["seeds"] == 2 and cell["sd"] is not None for cell in table)
    test_images = {cell["samples"] for cell in table if cell["attack"] == "clean"}
    samples = pd.read_parquet(build / "samples.parquet")
    assert test_images == {int(((samples["split"] == "test") & (samples["status"] != "pending")).sum())}
    assert {cell["samples"] for cell in table if cell["attack"] != "clean"} == {4}
    folder = build / "evaluate"
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert len(rows) == 3 * 2 * 4
    for row in rows:
        loaded = load_classifier(str(build / row["classifier"]), 10, 32)
        assert loaded.num_classes == 10
    assert {row["classifier"] for row in rows} >= {
        "evaluate/classifiers/nominal-1.toml",
        "evaluate/classifiers/mixup/nominal-0.toml",
    }
    assert len({(folder / f"classifiers/nominal-{seed}.safetensors").read_bytes() for seed in (0, 1)}) == 2
    assert json.loads((folder / "results.json").read_text())["table"] == table
    page = (folder / "results.html").read_text()
    assert "<svg" in page
    assert "src=" not in page
    assert "<link" not in page
    assert run_pipeline("verify", "--build", build).code == 0


def test_it_goes_on_and_trains_nothing_twice(build: Path) -> None:
    evaluate(build, "--shards", "nominal", "--attacks", "clean,pgd", *WEAK)
    folder = build / "evaluate"
    before = stamps(folder / "classifiers"), stamps(folder / "measures")
    evaluate(build, "--shards", "nominal", "--attacks", "clean,pgd", *WEAK)
    assert (stamps(folder / "classifiers"), stamps(folder / "measures")) == before
    evaluate(build, "--shards", "nominal,randmix-mix", "--attacks", "pgd", *WEAK, "--pgd-epsilon", "0.5", seeds=2)
    after = stamps(folder / "measures")
    assert {name: after[name] for name in before[1] if "pgd" not in name} == {
        name: stamp for name, stamp in before[1].items() if "pgd" not in name
    }
    assert after["nominal-0-pgd.json"] != before[1]["nominal-0-pgd.json"]
    kept = stamps(folder / "classifiers")
    assert {name: kept[name] for name in before[0]} == before[0]
    assert "randmix-mix-1.toml" in kept


def test_what_is_lost_or_damaged_is_made_again_with_the_same_bytes(build: Path) -> None:
    first = evaluate(build, "--shards", "nominal").json["table"]
    weights = build / "evaluate" / "classifiers" / "nominal-0.safetensors"
    measure = build / "evaluate" / "measures" / "nominal-0-clean.json"
    contents = weights.read_bytes(), measure.read_bytes()
    weights.write_bytes(contents[0][:-8] + bytes(8))
    measure.write_text("{")
    assert evaluate(build, "--shards", "nominal").json["table"] == first
    assert (weights.read_bytes(), measure.read_bytes()) == contents


def test_other_training_settings_are_refused_but_have_a_place(build: Path) -> None:
    evaluate(build, "--shards", "nominal")
    refused = run_pipeline(
        "evaluate", "--build", build, *QUICK, "--seeds", "1", "--shards", "nominal", "--steps", "7"
    )
    assert refused.code == 2
    assert "steps: 6 → 7" in refused.err
    evaluate(build, "--shards", "nominal", "--architecture", "linear", "--name", "linear")
    assert (build / "evaluate-linear" / "classifiers" / "nominal-0.toml").is_file()
    before = stamps(build / "evaluate" / "classifiers")
    evaluate(build, "--shards", "nominal", "--fresh", "--steps", "7")
    assert stamps(build / "evaluate" / "classifiers") != before


def test_new_shards_are_trained_on_anew(build: Path) -> None:
    evaluate(build, "--shards", "nominal")
    weights = build / "evaluate" / "classifiers" / "nominal-0.safetensors"
    before = weights.read_bytes()
    done = run_pipeline("shard", "--build", build, "--variants", "none", "--name", "nominal", "--workers", "0",
                        "--base", "reconstruction", "--fresh")  # fmt: skip
    assert done.code == 0, done.err
    evaluate(build, "--shards", "nominal")
    assert weights.read_bytes() != before


def test_fresh_leaves_other_rows_alone(build: Path) -> None:
    done = run_pipeline("shard", "--build", build, "--variants", "none", "--name", "nominal-2", "--workers", "0")
    assert done.code == 0, done.err
    evaluate(build, "--shards", "nominal,nominal-2,nominal+mixup")
    folder = build / "evaluate"
    others = ["classifiers/nominal-2-0.toml", "classifiers/mixup/nominal-0.toml", "measures/nominal-2-0-clean.json"]
    before = stamps(folder)
    evaluate(build, "--shards", "nominal", "--fresh")
    after = stamps(folder)
    assert [after[name] for name in others] == [before[name] for name in others]
    assert after["classifiers/nominal-0.toml"] != before["classifiers/nominal-0.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shards", "advmix"], "no complete shard set named 'advmix'"),
        (["--shards", "nominal+mixdown"], "known recipes after + are plain, mixup, at4, at8, om-at, dmat, oracle"),
        (["--shards", "nominal,nominal"], "name each row once"),
        (["--shards", "nominal", "--attacks", "fgsm"], "known are clean, pgd, om-pgd, advmix"),
        (["--shards", "nominal", "--input-size", "64"], "larger than the images"),
        (["--shards", "nominal", "--test-split", "val"], "has no split 'val'"),
        (["--shards", "nominal", "--test-set", "absent"], "no complete shard set named 'absent'"),
        (["--shards", "nominal", "--name", "../x"], "cannot be a name"),
        (["--shards", "nominal", "--steps", "0"], "must be at least 1"),
    ],
)
def test_bad_settings(prepared: Path, arguments: list[str], words: str) -> None:
    done = run_pipeline("evaluate", "--build", prepared, "--workers", "0", "--seeds", "1", *arguments)
    assert done.code == 2
    assert words in done.err
    assert not list((prepared / "evaluate").rglob("*.safetensors"))


def test_latent_attacks_want_latents(build: Path) -> None:
    done = run_pipeline("shard", "--build", build, "--variants", "none", "--name", "slim", "--no-latents",
                        "--workers", "0")  # fmt: skip
    assert done.code == 0, done.err
    done = run_pipeline("evaluate", "--build", build, *QUICK, "--shards", "slim", "--attacks", "om-pgd")
    assert done.code == 2
    assert "has no latents, which om-pgd and advmix need" in done.err
    evaluate(build, "--shards", "slim", "--attacks", "om-pgd", "--test-set", "nominal", *WEAK)
    done = run_pipeline("evaluate", "--build", build, *QUICK, "--shards", "slim+dmat")
    assert done.code == 2
    assert "has no latents, which +dmat needs" in done.err


def test_what_one_row_lacks_is_told_before_any_is_trained_or_deleted(build: Path) -> None:
    evaluate(build, "--shards", "nominal")
    before = stamps(build / "evaluate")
    slim = ("shard", "--build", build, "--variants", "none", "--name", "slim", "--no-latents", "--workers", "0")
    assert run_pipeline(*slim).code == 0
    refused = ["--shards", "nominal,slim", "--attacks", "om-pgd", *WEAK]
    for extra in ([], ["--fresh"]):
        done = run_pipeline("evaluate", "--build", build, *QUICK, "--seeds", "2", *refused, *extra)
        assert done.code == 2
        assert "'slim' has no latents" in done.err
        assert stamps(build / "evaluate") == before
    mistyped = run_pipeline("evaluate", "--build", build, *QUICK, "--shards", "slim", "--train-split", "trian")
    assert mistyped.code == 2
    assert "has no split 'trian'" in mistyped.err
    evaluate(build, "--shards", "slim")


def declare_anew(folder: Path) -> None:
    """Write a set's manifest.json for what its files are now."""
    content = read_sealed(folder / "manifest.json")
    assert content is not None
    for entry in content["shards"]:
        path = folder / entry["path"]
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_sealed(folder / "manifest.json", content)


def test_a_test_set_of_other_labels_is_refused(build: Path) -> None:
    done = run_pipeline("shard", "--build", build, "--variants", "none", "--name", "odd", "--workers", "0")
    assert done.code == 0, done.err
    for path in (build / "shards" / "odd" / "parquet").glob("test-*"):
        table = pq.read_table(path)
        metadata = {
            **table.schema.metadata,
            b"huggingface": table.schema.metadata[b"huggingface"].replace(b'"3"', b'"x"'),
        }
        pq.write_table(table.replace_schema_metadata(metadata), path)
    declare_anew(build / "shards" / "odd")
    done = run_pipeline("evaluate", "--build", build, *QUICK, "--shards", "nominal", "--test-set", "odd")
    assert done.code == 2
    assert "name a --test-set of the same labels" in done.err


def test_training_in_the_latent_space_wants_images_that_w_renders(build: Path) -> None:
    made = run_pipeline("augment", "--build", build, "--mode", "mixi", "--limit", "8", "--workers", "0")
    assert made.code == 0, made.err
    done = run_pipeline("shard", "--build", build, "--variants", "mixi", "--workers", "0")
    assert done.code == 0, done.err
    done = run_pipeline("evaluate", "--build", build, *QUICK, "--shards", "mixi+om-at")
    assert done.code == 2
    assert "has variants (mixi) that no w+ renders" in done.err


def test_training_on_both_manifolds(build: Path) -> None:
    done = evaluate(build, "--shards", "nominal+dmat,nominal+om-at")
    assert [row["row"] for row in json.loads(done.out)["table"]] == ["nominal+dmat", "nominal+om-at"]
    assert (build / "evaluate" / "classifiers" / "om-at" / "nominal-0.toml").is_file()
