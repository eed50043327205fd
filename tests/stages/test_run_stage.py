"""Resume, refusal and rebuild, on real builds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.build import open_build
from pipeline.store import read_rows
from tests.conftest import Tiny, run_pipeline


def test_a_second_run_computes_nothing(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    first = run_pipeline(*tiny.invert(build, "--json")).json
    again = run_pipeline(*tiny.invert(build, "--json")).json
    assert (first["computed"], again["computed"]) == (48, 0)
    assert {**first, "seconds": 0, "computed": 0} == {**again, "seconds": 0}


def test_a_raised_limit_goes_on_and_a_lower_one_keeps_all(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    computed = [run_pipeline(*tiny.invert(build, "--json", limit=n)).json["computed"] for n in (20, 48, 10, 48)]
    assert computed == [20, 32, 0, 0]  # the half-filled second chunk is done again as a whole
    w = read_rows(build / "latents.zarr", ["w"], 0, 1797)["w"]
    assert np.isfinite(w).all(axis=(1, 2)).sum() == 48


def test_other_settings_are_refused_by_name(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    run_pipeline(*tiny.invert(build, limit=16))
    before = read_rows(build / "latents.zarr", ["w"], 0, 16)["w"]
    refused = run_pipeline(*tiny.invert(build, "--tolerance", "0.05", limit=16, steps=5))
    assert refused.code == 2
    assert "steps: 4 → 5; tolerance: 0.02 → 0.05" in refused.err
    np.testing.assert_array_equal(read_rows(build / "latents.zarr", ["w"], 0, 16)["w"], before)
    fresh = run_pipeline(*tiny.invert(build, "--tolerance", "0.05", "--fresh", "--json", limit=16, steps=5))
    assert fresh.json["computed"] == 16
    assert not np.array_equal(read_rows(build / "latents.zarr", ["w"], 0, 16)["w"], before)


def test_damaged_data_is_done_again(finished_build: Path, copy_of: Callable[[Path], Path], tiny: Tiny) -> None:
    build = copy_of(finished_build)
    chunk = build / "latents.zarr" / "w" / "c" / "1" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-40])
    again = run_pipeline(*tiny.invert(build, "--json")).json
    assert again["computed"] == 16
    assert chunk.read_bytes() == whole


def test_a_lost_record_is_done_again(finished_build: Path, copy_of: Callable[[Path], Path], tiny: Tiny) -> None:
    build = copy_of(finished_build)
    (build / ".ledger" / "invert" / "000002.json").write_text("{half of a rec")
    assert run_pipeline(*tiny.invert(build, "--json")).json["computed"] == 16


def test_changed_latents_make_later_stages_stale(
    finished_build: Path, copy_of: Callable[[Path], Path], tiny: Tiny
) -> None:
    build = copy_of(finished_build)
    run_pipeline(*tiny.invert(build, limit=64))
    stale = run_pipeline("verify", "--build", build, "--json")
    assert stale.code == 1
    assert [problem.split(":")[0] for problem in stale.json["problems"]] == [
        "augment/randmix",
        "augment/mix",
        "shard/randmix-mix",
    ]
    status = {row["stage"]: row for row in run_pipeline("status", "--build", build, "--json").json["stages"]}
    assert status["augment/mix"]["stale"]
    assert not status["invert"]["stale"]
    _, *later = tiny.whole_way(build)
    randmix, mix, shard = (run_pipeline(*arguments, "--workers", "0", "--json") for arguments in later)
    assert 0 < randmix.json["computed"] < randmix.json["done"]  # only the chunks whose samples changed
    assert mix.json["computed"] == 1400  # any sample may be a partner
    assert shard.code == 0
    assert run_pipeline("verify", "--build", build).code == 0


def test_verify_finds_nothing_wrong(finished_build: Path) -> None:
    done = run_pipeline("verify", "--build", finished_build, "--json")
    assert (done.code, done.json["problems"]) == (0, [])


@pytest.mark.parametrize("damage", ["latents", "shard", "manifest", "record", "stray", "partial"])
def test_verify_names_what_is_wrong(finished_build: Path, copy_of: Callable[[Path], Path], damage: str) -> None:
    build = copy_of(finished_build)
    shards = build / "shards" / "randmix-mix"
    if damage == "latents":
        target = build / "latents.zarr" / "psnr" / "c" / "0"
        data = bytearray(target.read_bytes())
        data[7] ^= 255
        target.write_bytes(data)
        words = "latents.zarr/psnr, rows 0 to 16"
    elif damage == "shard":
        target = shards / "wds" / "train-000001.tar"
        target.write_bytes(target.read_bytes()[:-512])
        words = "wds/train-000001.tar differs"
    elif damage == "manifest":
        (shards / "manifest.json").unlink()
        words = "has no manifest.json"
    elif damage == "record":
        (build / ".ledger" / "augment" / "mix" / "000003.json").unlink()
        words = "augment/mix: chunk 3 has no readable record"
    elif damage == "stray":
        (shards / "wds" / "train-000099.tar").touch()
        words = "train-000099.tar does not belong"
    else:
        (build / "latents.zarr" / "w" / f"0.{'0a' * 16}.partial").touch()
        words = "left behind by a killed run"
    done = run_pipeline("verify", "--build", build)
    assert done.code == 1
    assert words in done.out


def test_status_counts(finished_build: Path) -> None:
    status = run_pipeline("status", "--build", finished_build, "--json").json
    assert status["by_status"] == {"ok": 48, "pending": 1749}
    assert status["variants"] == ["mix", "randmix"]
    assert status["shards"] == ["randmix-mix"]
    assert all(stage["state"] == "finished" and not stage["stale"] for stage in status["stages"])


def test_a_busy_build_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    run_pipeline(*tiny.invert(build, limit=16))
    with open_build(build).lock():
        for arguments in (tiny.invert(build), ["augment", "--build", build], ["verify", "--build", build]):
            done = run_pipeline(*arguments)
            assert done.code == 2
            assert "in use by process" in done.err


def test_records_say_who_did_what(finished_build: Path) -> None:
    record = json.loads((finished_build / ".ledger" / "invert" / "000001.json").read_text())
    assert (record["start"], record["stop"]) == (16, 32)
    assert len(record["details"]["sha256"]) == 16
    assert record["seconds"] > 0
    assert ":" in record["worker"]
