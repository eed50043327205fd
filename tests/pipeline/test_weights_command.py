"""`pipeline weights` as it is typed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.weights import write_weights
from tests.conftest import run_pipeline
from tests.pipeline.generators.checkpoints.made import nvidia_pickle, parity


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONMANIFOLD_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return nvidia_pickle(tmp_path / "x.pkl", parity("dev-stylegan2ada-32")[0], 256)


def test_import_list_check(snapshot: Path, folder: Path) -> None:
    done = run_pipeline("weights", "import", snapshot, "--as", "mine", "--fine-layers", "5-7")
    assert done.code == 0, done.err
    assert "mine is imported" in done.out
    again = run_pipeline("weights", "import", snapshot, "--as", "mine", "--json").json
    assert (again["already_imported"], again["fine_layers"], again["num_ws"]) == (True, [5, 6, 7], 8)
    listed = {row["name"]: row for row in run_pipeline("weights", "list", "--json").json}
    assert listed["mine"]["present"]
    assert listed["color-digits"]["present"]
    assert "pipeline weights import karras2019stylegan-celebahq-1024x1024.pkl" in listed["celebahq-1024"]["problem"]
    assert str(folder) in run_pipeline("weights", "list").out
    checked = run_pipeline("weights", "check", "--json")
    assert checked.code == 0
    assert {row["name"] for row in checked.json} == {"mine", "color-digits", "color-digits-stylegan1"}


def test_check_finds_a_changed_byte(snapshot: Path, folder: Path) -> None:
    assert run_pipeline("weights", "import", snapshot, "--as", "mine").code == 0
    weights = folder / "mine.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = run_pipeline("weights", "check")
    assert done.code == 1
    assert "mine: " in done.out
    assert "is not the declared file" in done.out
    assert run_pipeline("weights", "check", "color-digits").code == 0


def test_check_of_a_broken_manifest(folder: Path) -> None:
    folder.mkdir()
    (folder / "broken.toml").write_text("name = = 3")
    assert run_pipeline("weights", "list").code == 0
    done = run_pipeline("weights", "check")
    assert done.code == 1
    assert "not valid TOML" in done.out


def test_check_of_what_is_not_imported() -> None:
    done = run_pipeline("weights", "check", "celebahq-1024")
    assert done.code == 1
    assert "not imported yet" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nothing-like-it"], "no generator named"),
        (["import", "nowhere.pkl", "--as", "mine"], "no file at nowhere.pkl"),
        (["import", "text.pkl", "--as", "mine"], "it is a text that begins"),
        (["import", "text.pkl", "--as", "mine", "--fine-layers", "x"], "--fine-layers x"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "text.pkl").write_text("only text")
    done = run_pipeline("weights", *arguments, cwd=tmp_path)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_stage_says_how_to_get_missing_weights(tmp_path: Path) -> None:
    done = run_pipeline("invert", "--dataset", "color-digits", "--generator", "lsun-cat-256", cwd=tmp_path)
    assert done.code == 2
    assert "karras2019stylegan-cats-256x256.pkl --as lsun-cat-256" in done.err


def test_written_weights_are_read_back(tmp_path: Path) -> None:
    state = {
        "a": torch.randn(3, 4).T,
        "b": torch.arange(5),
        "c": torch.tensor(1.5).bfloat16(),
        "empty": torch.zeros(0, 3),
        "d": torch.tensor([True, False, True]),
    }
    write_weights(tmp_path / "x.safetensors", state)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) and found[key].dtype == state[key].dtype for key in state)
