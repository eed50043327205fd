"""The command line: quick help, one sentence for an error, exit codes."""

import json
import os
import resource
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.conftest import Tiny, run_pipeline, write_manifest

COMMANDS = [
    "demo", "datasets", "train-generator", "train-perceptual", "invert", "augment", "shard", "report", "status",
    "verify",
]  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom pipeline.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as e: code = e.code\n"
        "heavy = {'torch', 'zarr', 'dask', 'pandas', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name}" in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = run_pipeline(name, "--help")
    assert done.code == 0
    assert f"pipeline {name}" in done.out.replace("Usage: pipeline", "")


def test_a_working_folder_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gone").mkdir()
    with chdir(tmp_path / "gone"):
        (tmp_path / "gone").rmdir()
        with pytest.raises(SystemExit) as ended:
            main(["datasets"])
    assert ended.value.code == 2
    assert "the working folder is gone" in capsys.readouterr().err


def test_an_unknown_command_is_refused() -> None:
    assert run_pipeline("inverts").code == 2


def test_datasets_lists_what_is_present(tmp_path: Path) -> None:
    listed = {row["name"]: row for row in run_pipeline("datasets", "--json").json}
    assert listed["color-digits"]["problem"] is None
    assert "color-digits" in run_pipeline("datasets").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["invert", "--dataset", "color-digit"], "did you mean color-digits"),
        (["invert", "--dataset", "missing.toml"], "no manifest at"),
        (["invert", "--dataset", "color-digits", "--steps", "0"], "--steps 0: must be at least 1"),
        (["invert", "--dataset", "color-digits", "--learning-rate", "nan"], "--learning-rate nan: must be"),
        (["invert", "--dataset", "color-digits", "--device", "cuda"], "no CUDA device"),
        (["invert", "--dataset", "color-digits", "--perceptual", "vgg16"], "download https://"),
        (["invert", "--dataset", "color-digits", "--generator", "nothing"], "no generator named 'nothing'"),
        (["invert"], "begin with `pipeline invert"),
        (["augment"], "begin with `pipeline invert"),
        (["shard", "--dataset", "color-digits"], "pipeline invert --dataset color-digits"),
        (["report"], "there is no build"),
        (["status", "--build", "nowhere"], "nowhere: begin one with `pipeline invert"),
        (["verify", "--build", "~nobody-of-that-name/b"], "the home folder that ~ stands for is not known"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else None,
)
def test_bad_input_is_one_sentence_and_code_2(
    tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = run_pipeline(*arguments, cwd=tmp_path)
    assert done.code == 2, done.err
    assert words in done.err
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["augment", "--classifier", ""], "--classifier"),
        (["invert", "--dataset", "color-digits", "--build="], "--build"),
        (["demo", "--build", ""], "--build"),
        (["weights", "import", "", "--as", "x"], "an argument"),
    ],
)
def test_what_an_unset_shell_variable_leaves_is_refused(tmp_path: Path, arguments: list[str], name: str) -> None:
    done = run_pipeline(*arguments, cwd=tmp_path)
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        f"Error: {name} is empty: give it a value, or leave it out",
    )
    assert list(tmp_path.iterdir()) == []


def test_workers_and_scheduler_exclude_each_other(tmp_path: Path) -> None:
    done = run_pipeline("invert", "--workers", "1", "--scheduler", "tcp://127.0.0.1:1", cwd=tmp_path)
    assert done.code == 2
    assert "exclude each other" in done.err


def test_a_scheduler_that_does_not_answer(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONMANIFOLD_WAIT", "0.5")
    arguments = tiny.invert(tmp_path / "b")[:-2]
    done = run_pipeline(*arguments, "--scheduler", "tcp://127.0.0.1:9", cwd=tmp_path)
    assert done.code == 2
    assert "--scheduler tcp://127.0.0.1:9: nothing listens there" in done.err
    assert "Traceback" not in done.err


def test_a_dataset_of_another_resolution(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "images" / "cat").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "cat" / "a.png")
    path = write_manifest(tmp_path / "m.toml", name="m", format="folder", resolution=64, root="images")
    done = run_pipeline("invert", "--dataset", path, *tiny.networks, cwd=tmp_path)
    assert done.code == 2
    assert "delivers 64x64 images, but generator" in done.err


def test_a_full_disk_loses_nothing(tmp_path: Path, tiny: Tiny) -> None:
    build = tmp_path / "b"
    assert run_pipeline(*tiny.invert(build, limit=16)).code == 0

    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, allowed[1]))
    try:
        blocked = run_pipeline(*tiny.invert(build, limit=48))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert blocked.code == 2
    assert blocked.err.splitlines()[-1].startswith("Error: a file grew past the allowed size")
    summary = run_pipeline(*tiny.invert(build, "--json", limit=48)).json
    assert (summary["done"], summary["computed"]) == (48, 32)
    assert run_pipeline("verify", "--build", build).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path: Path, tiny: Tiny) -> None:
    tmp_path.chmod(0o500)
    done = run_pipeline(*tiny.invert(tmp_path / "b"))
    tmp_path.chmod(0o700)
    assert done.code == 2
    assert "no permission" in done.err


def test_no_folder_for_temporary_files(tmp_path: Path) -> None:
    script = (
        "import sys, tempfile\ntempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
        "from pipeline.cli import main; main(['invert', '--dataset', 'color-digits', '--dry-run'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: there is no folder for temporary files: set TMPDIR to one you may write to\n"


def test_a_file_in_the_way(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "b").touch()
    done = run_pipeline(*tiny.invert(tmp_path / "b"))
    assert done.code == 2
    assert "a file is in the way" in done.err


def test_progress_is_never_on_standard_output(
    tmp_path: Path, tiny: Tiny, capfd: pytest.CaptureFixture[str]
) -> None:
    done = run_pipeline(*tiny.invert(tmp_path / "b", "--json"))
    assert json.loads(done.out)["done"] == 48
    assert "invert: 48/48 samples (100%)" in done.err
    assert capfd.readouterr().out == ""  # nor past Python
