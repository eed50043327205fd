"""What is not ours stays, and what is ours and not needed any more goes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Tiny, differing, run_pipeline, tree_digest

OTHERS = (
    ".git/config",
    ".git/objects/ab/cd",
    "notes.md",
    "wds/.upload/cache.bin",
    "wds/a.tar.partial",
    "mine/b.tar",
)


@pytest.fixture
def build(finished_build: Path, copy_of: Callable[[Path], Path]) -> Path:
    target = copy_of(finished_build)
    for name in OTHERS:
        path = target / "shards" / "randmix-mix" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
    return target


def others(build: Path) -> dict[str, str]:
    root = build / "shards" / "randmix-mix"
    return {name: (root / name).read_text() for name in OTHERS if (root / name).is_file()}


def ours(build: Path) -> set[str]:
    root = build / "shards" / "randmix-mix"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - set(OTHERS)


def shard(build: Path, *extra: str) -> None:
    done = run_pipeline(
        "shard", "--build", build, "--variants", "randmix,mix", "--flagged", "--workers", "0", *extra
    )
    assert done.code == 0, done.err


def test_a_new_plan_deletes_its_old_shards_alone(build: Path, tiny: Tiny) -> None:
    kept, before = others(build), ours(build)
    assert run_pipeline(*tiny.invert(build, limit=100)).code == 0
    for arguments in tiny.whole_way(build)[1:]:
        assert run_pipeline(*arguments, "--workers", "0").code == 0
    after = ours(build)
    assert others(build) == kept
    assert len(after) > len(before)
    assert "parquet/train-00000-of-00004.parquet" in before - after
    assert run_pipeline("verify", "--build", build).code == 0
    shard(build, "--samples-per-shard", "300", "--min-shards", "1", "--format", "webdataset", "--fresh")
    assert others(build) == kept
    assert ours(build) == {
        "README.md", "croissant.json", "manifest.json", "wds/_info.json", "wds/sizes.json", "wds/test-000000.tar",
        "wds/train-000000.tar", "wds/train-000001.tar",
    }  # fmt: skip
    assert not (build / "shards" / "randmix-mix" / "parquet").exists()
    found = run_pipeline("verify", "--build", build, "--json")
    assert (found.code, found.json["problems"]) == (0, [])


def test_a_kill_before_the_old_shards_are_deleted_leaves_none_behind(
    build: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = others(build)
    assert run_pipeline(*tiny.invert(build, limit=100)).code == 0
    *variants, shards = tiny.whole_way(build)[1:]
    for arguments in variants:
        assert run_pipeline(*arguments, "--workers", "0").code == 0
    for killed_in in ("pipeline.run.drop_records", "pipeline.run.tidy", "pipeline.run.conclude"):
        with monkeypatch.context() as patched:
            patched.setattr(killed_in, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert run_pipeline(*shards, "--workers", "0").code == 130
        found = run_pipeline("verify", "--build", build, "--json")
        assert "shard/randmix-mix is not finished: run its command again" in found.json["problems"]
    assert run_pipeline(*shards, "--workers", "0").code == 0
    assert others(build) == kept
    assert {name.split("-of-")[1] for name in ours(build) if name.startswith("parquet/train")} == {"00008.parquet"}
    assert run_pipeline("verify", "--build", build).code == 0


def test_fresh_leaves_what_is_not_ours(build: Path, tiny: Tiny) -> None:
    kept = others(build)
    for name in (
        "latents.zarr/why.txt",
        "variants/mix.zarr/w/why.txt",
        "report/mine.html",
        "directions/pca/mine.png",
    ):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("mine")
    before = tree_digest(build)
    for arguments in tiny.whole_way(build):
        assert run_pipeline(*arguments, "--workers", "0", "--fresh").code == 0
    assert others(build) == kept
    changed = [
        name for name in differing(tree_digest(build), before) if not name.startswith((".ledger/", "build."))
    ]
    assert changed == []
