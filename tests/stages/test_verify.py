"""`verify` names whatever is not as it was written, leaves others' files alone, and marks what is to mend."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.build import open_build
from pipeline.ledger import data_digests, details_of, read_record, record_path
from pipeline.sealed import written
from tests.conftest import Finished, Tiny, differing, run_pipeline, tree_digest


@pytest.fixture
def build(finished_build: Path, copy_of: Callable[[Path], Path]) -> Path:
    return copy_of(finished_build)


def verify(build: Path, *extra: str) -> Finished:
    return run_pipeline("verify", "--build", build, "--json", *extra)


def problems(build: Path, *extra: str) -> list[str]:
    done = verify(build, *extra)
    assert done.code == (1 if done.json["problems"] else 0)
    return [problem.replace(f"{build}/", "") for problem in done.json["problems"]]


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes()))


def flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# --- records ------------------------------------------------------------------------------------------------------


def test_a_single_byte_of_a_record_counts(build: Path) -> None:
    opened = open_build(build)
    path = record_path(opened, "augment/mix", 1)
    whole = path.read_bytes()
    assert read_record(opened, "augment/mix", 1) is not None
    for place in range(0, len(whole), 7):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            path.write_bytes(data)
            assert read_record(opened, "augment/mix", 1) is None
    for data in (whole + b"\n", b"{}", b"[]", b"null", b"", whole.replace(b'"start"', b'"Start"')):
        path.write_bytes(data)
        assert read_record(opened, "augment/mix", 1) is None


@pytest.mark.parametrize("damage", ["flipped", "empty", "another's", "a list", "not UTF-8"])
def test_a_damaged_record_is_an_undone_chunk_for_everybody(build: Path, tiny: Tiny, damage: str) -> None:
    opened = open_build(build)
    path, other = (record_path(opened, "invert", index) for index in (1, 2))
    contents = {"empty": b"", "another's": other.read_bytes(), "a list": b"[1, 2]\n", "not UTF-8": b"\xff\xfe{"}
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(contents[damage])
    assert problems(build)[0] == "invert: chunk 1 has no readable record: run its command again"
    assert [start for start, _, _ in data_digests(opened, "invert")] == [0, 32]
    assert len(details_of(opened, "invert")) == 2
    status = run_pipeline("status", "--build", build, "--json")
    states = {row["stage"]: (row["state"], bool(row["stale"])) for row in status.json["stages"]}
    assert states["invert"] == ("begun", False)
    assert states["augment/mix"] == ("finished", True)
    assert run_pipeline("report", "--build", build, "--samples", "1", "--per-set", "1").code == 0
    again = run_pipeline(*tiny.invert(build, "--json"))
    assert (again.code, again.json["computed"]) == (0, 16)
    assert problems(build) == []


def test_two_records_or_two_chunks_that_changed_places_are_found(build: Path) -> None:
    opened = open_build(build)
    swap(*(record_path(opened, "invert", index) for index in (0, 1)))
    assert [problem for problem in problems(build) if problem.startswith("invert")] == [
        f"invert: chunk {index} has no readable record: run its command again" for index in (0, 1)
    ]
    swap(*(record_path(opened, "invert", index) for index in (0, 1)))
    swap(*(build / "latents.zarr" / "w" / "c" / str(index) / "0" / "0" for index in (0, 2)))
    found = problems(build)
    assert [problem.split(":")[1] for problem in found] == [" chunk 0", " chunk 2"]
    assert all("differ from what was written" in problem for problem in found)


def swap(one: Path, other: Path) -> None:
    """Exchange two files."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_records_of_a_stage_that_build_toml_does_not_know(build: Path) -> None:
    shutil.copytree(build / ".ledger" / "augment" / "mix", build / ".ledger" / "augment" / "more")
    assert problems(build) == [".ledger/augment/more holds records of a stage that build.toml does not know"]
    verify(build, "--repair")
    assert problems(build) == []


# --- build.toml and samples.parquet -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["build.toml", "samples.parquet"])
def test_what_all_commands_read_is_named_and_restored(build: Path, tiny: Tiny, name: str) -> None:
    path, before = build / name, tree_digest(build)
    whole = path.read_bytes()
    damages = {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": flipped(whole), "longer": whole + b"\n"}
    for damage in (*damages.values(), None):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        found = verify(build)
        assert found.code == 1
        assert [problem.split(": ")[0] for problem in found.json["problems"]] == [
            f"{path} is missing" if damage is None else f"{path} differs from what was written"
        ]
        assert found.json["chunks"] > 0
        refusing = [["status"], tiny.invert(build), *tiny.whole_way(build)[1:], ["report"]]
        for command in refusing if damage in (None, damages["flipped"]) else refusing[:1]:
            refused = run_pipeline(*command, *([] if "--build" in command else ["--build", str(build)]))
            assert refused.code == 2
            assert f"{path} " in refused.err
            assert "--repair" in refused.err
        assert verify(build, "--repair").json["repaired"] == [f"{path} is restored from its copy"]
        assert problems(build) == []
        assert differing(tree_digest(build), before) == []


@pytest.mark.parametrize("name", ["build.toml", "samples.parquet"])
@pytest.mark.parametrize("file", [".ledger/{}", ".ledger/{}.json"])
def test_their_copies_and_digests_are_looked_after_too(build: Path, name: str, file: str) -> None:
    before = tree_digest(build)
    path = build / file.format(name)
    for damage in (flip, Path.unlink):
        damage(path)
        assert len(problems(build)) == 1
        verify(build, "--repair")
        assert problems(build) == []
        assert tree_digest(build) == before


def test_a_build_whose_two_copies_are_damaged_is_one_sentence(build: Path) -> None:
    for path in (build / "build.toml", build / ".ledger" / "build.toml"):
        flip(path)
    assert len(problems(build)) == 2
    repaired = verify(build, "--repair")
    assert repaired.code == 2
    assert "are both damaged: put one back from a backup" in repaired.err


# --- everything else ----------------------------------------------------------------------------------------------


def test_other_peoples_files_are_listed_and_do_no_harm(build: Path) -> None:
    others = {
        "notes.txt": "notes.txt",
        "shards/randmix-mix/.git/config": "shards/randmix-mix/.git/",
        "shards/randmix-mix/.git/objects/ab/cd": "shards/randmix-mix/.git/",
        "shards/randmix-mix/wds/upload.log": "shards/randmix-mix/wds/upload.log",
        "shards/mine/wds/README": "shards/mine/",
        "latents.zarr/w/why.txt": "latents.zarr/w/why.txt",
        "video.mp4.partial": "video.mp4.partial",
        ".cache/huggingface/x": ".cache/huggingface/",
    }
    for name in others:
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("mine")
    found = verify(build)
    assert (found.code, found.json["problems"]) == (0, [])
    assert found.json["strangers"] == sorted(set(others.values()))
    assert verify(build, "--repair").code == 0
    assert all((build / name).read_text() == "mine" for name in others)
    assert "not ours, left alone: notes.txt" in run_pipeline("verify", "--build", build).out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shards/randmix-mix/wds/train-000099.tar", "does not belong to shard/randmix-mix"),
        ("shards/randmix-mix/parquet/x.parquet", "does not belong to shard/randmix-mix"),
        ("latents.zarr/psnr/c/7", "does not belong to invert"),
        ("report/index.html", "does not belong to report"),
        (".cache/decoded/0-pixels.npy", "left behind by a killed run"),
        ("latents.zarr.12.onmanifold-partial/x", "left behind by a killed run"),
    ],
)
def test_what_looks_like_ours_and_is_in_no_record_is_named(build: Path, name: str, words: str) -> None:
    (build / name).parent.mkdir(parents=True, exist_ok=True)
    (build / name).write_bytes(b"x")
    (found,) = problems(build)
    assert words in found


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_files_of_the_end_and_metadata_are_mended_by_their_command(
    build: Path, tiny: Tiny, damage: Callable[[Path], None]
) -> None:
    before = tree_digest(build)
    damaged = {
        2: ["variants/mix.zarr/zarr.json", "variants/mix.zarr/lam/zarr.json", "variants/mix.zarr/flagged/c/0"],
        3: [f"shards/randmix-mix/{name}" for name in ("README.md", "croissant.json", "wds/sizes.json")],
    }
    for name in (
        *damaged[2],
        *damaged[3],
        "shards/randmix-mix/manifest.json",
        ".ledger/shard/randmix-mix/end.json",
    ):
        damage(build / name)
        assert len(problems(build)) >= 1, name
    mends = verify(build, "--repair").json["repaired"]
    for name in ("augment --name mix", "shard --name randmix-mix"):
        assert f"run again, as it was run before: pipeline {name} --build {build}" in mends
    for number in damaged:
        assert run_pipeline(*tiny.whole_way(build)[number], "--workers", "0").code == 0
    assert problems(build) == []
    changed = [name for name in differing(tree_digest(build), before) if "build.toml" not in name]
    assert all(name.startswith(".ledger/augment/mix/") for name in changed)


def test_the_lock_is_what_a_process_leaves(build: Path) -> None:
    lock = build / ".lock"
    assert lock.read_bytes() == b""
    lock.write_text("process 12 on here")  # of a process that was killed
    assert problems(build) == []
    for damage in (lambda: lock.write_text("process 12 on here\nand more"), lock.unlink):
        damage()
        assert len(problems(build)) == 1
        assert problems(build) == []


def test_what_others_keep_is_not_followed(build: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.tar").touch()
    (build / "linked").symlink_to(tmp_path / "elsewhere")
    found = verify(build)
    assert (found.code, found.json["strangers"]) == (0, ["linked"])


def test_sources_are_compared_when_asked_for(few_digits: Path, tiny: Tiny, tmp_path: Path) -> None:
    dataset = tmp_path / "few.toml"
    shutil.copytree(few_digits.parent / "images", tmp_path / "images")
    shutil.copy(few_digits, dataset)
    invert = ["invert", "--dataset", dataset, "--build", tmp_path / "b", *tiny.networks, "--limit", "8",
              "--steps", "1", "--workers", "0"]  # fmt: skip
    assert run_pipeline(*invert).code == 0
    assert problems(tmp_path / "b", "--sources") == []
    samples = open_build(tmp_path / "b").samples("id", "source")
    changed, gone, never = (tmp_path / "images" / samples["source"][row] for row in (1, 2, 50))
    shutil.copy(tmp_path / "images" / samples["source"][9], changed)
    gone.unlink()
    never.unlink()
    assert problems(tmp_path / "b") == []
    first, second = problems(tmp_path / "b", "--sources")
    assert first.startswith(f"source of {samples['id'][1]} ({samples['source'][1]}): the source has changed since")
    assert second.startswith(f"source of {samples['id'][2]} ({samples['source'][2]}): ")


# --- builds of before there were digests --------------------------------------------------------------------------


def test_a_build_of_before_keeps_what_is_computed(build: Path, tiny: Tiny) -> None:
    for path in (build / ".ledger").rglob("*.json"):
        if path.stem.isdecimal():
            path.write_bytes(written({k: v for k, v in json.loads(path.read_bytes()).items() if k != "sha256"}))
        elif path.is_file():
            path.unlink()
    shutil.rmtree(build / ".ledger" / "cache")
    for name in ("build.toml", "samples.parquet"):
        (build / ".ledger" / name).unlink()
    for path in (build / "latents.zarr", *(build / "variants").glob("*.zarr")):
        root = json.loads((path / "zarr.json").read_bytes())
        del root["attributes"]["onmanifold_complete"]["sha256"]
        (path / "zarr.json").write_text(json.dumps(root, indent=1))
    assert run_pipeline("status", "--build", build).code == 0
    assert [problem.split(",")[0] for problem in problems(build)][:2] == [
        f"{name} has no readable digest in .ledger/{name}.json" for name in ("build.toml", "samples.parquet")
    ]
    for arguments in (tiny.invert(build), *([*words, "--workers", "0"] for words in tiny.whole_way(build)[1:])):
        again = run_pipeline(*arguments, "--json")
        assert (again.code, again.json["computed"]) == (0, 0)
    verify(build, "--repair")
    assert problems(build) == []
    assert run_pipeline(*tiny.invert(build, "--json")).json["computed"] == 0
    flip(build / ".ledger" / "invert" / "000001.json")
    assert problems(build)[0] == "invert: chunk 1 has no readable record: run its command again"
