"""Files that are no checkpoints are named for what they are, with a way to mend it."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints import import_checkpoint, read_checkpoint
from tests.pipeline.generators import tiny_states
from tests.pipeline.generators.checkpoints.made import tf_pickle, tf_progan

DRIVE = (
    "<html><head><title>Google Drive - Virus scan warning</title></head><body>too large to be scanned</body></html>"
)
DENIED = '<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 381673535\n"
INDEX = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
TABLE_END = bytes.fromhex("57fb808b247547db")


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"0123456789")
    return file.getvalue()


def tarred(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = 10
        archive.addfile(member, io.BytesIO(b"0123456789"))
    return file.getvalue()


def numpy_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


FILES = [
    (b"", "it is empty: download it again"),
    (bytes(5000), "begins with 5,000 zeros"),
    (b"<!DOCTYPE html><title>Sign in</title>", r"a web page \('Sign in'\), not weights: download it with a br"),
    (b"\n \r\n<html>", "it is a web page, not weights"),
    (b"\xef\xbb\xbf<!doctype html>", "it is a web page"),
    ("\ufeff <!DOCTYPE html><title>Ihre Datei</title>".encode("utf-16-le"), r"a web page \('Ihre Datei'\)"),
    (b"<html><title>Se\xf1or</title>" + b"text " * 20, "a web page"),
    (DRIVE.encode(), "Google Drive asks whether to download a file that is too large"),
    (b"<html><title>Google Drive - Quota exceeded</title>", "quota for the file is spent"),
    (DENIED.encode(), r"an error message of the server \('AccessDenied'\)"),
    (b'{"error": "Access to model x is restricted"}', r"of the server \('Access to model x is restricted'\)"),
    (b'{"error": {"code": 404, "message": "Not Found"}}', r"of the server \('Not Found'\)"),
    (b'{"detail": "nope"}', r"of the server \('nope'\)"),
    (b'{"hidden_size": 512}', "it is a text in JSON, such as settings"),
    (b'{"hidden_size": 51', r"a text that begins '\{\"hidden_size\": 51', not weights"),
    (json.dumps(INDEX).encode(), "index of weights in several files.*such as model-00001-of-00002.safetensors"),
    (LFS, r"a pointer of Git LFS to a file of 381,673,535 bytes: run `git lfs pull`"),
    (b"/annex/objects/MD5-s100--0123\n", "a pointer of git-annex"),
    (b"hello, this is text\nand more", "a text that begins 'hello, this is text', not weights: download"),
    (b"hello\x1b[31m you, this is a long line of text", r"a text that begins 'hello \[31m you, this"),
    (b"(dp0\nS'a'\np1\nI1\ns.", "a pickle of protocol 0 or 1"),
    (b'model_checkpoint_path: "model.ckpt-1"', "the list of TensorFlow checkpoints"),
    (bytes(range(1, 200)) + TABLE_END, "the index of a TensorFlow checkpoint"),
    (gzip.compress(b"weights"), "packed with gzip: unpack it first"),
    (gzip.compress(b"weights")[:5], r"packed with gzip: unpack it first"),
    (gzip.compress(tarred("deep/x.pth")), "packed with tar and gzip: unpack it first, and import 'deep/x.pth'"),
    (bz2.compress(tarred("x.pth")), "packed with tar and bzip2: unpack it first, and import 'x.pth'"),
    (lzma.compress(tarred("x.pth")), "packed with tar and xz: unpack it first, and import 'x.pth'"),
    (lzma.compress(b"weights"), "packed with xz: unpack it first$"),
    (b"\xfd7zXZ\0" + b"\xff" * 40, "packed with xz: .*its beginning is damaged"),
    (tarred("a.pkl"), "packed with tar: unpack it first, and import 'a.pkl'"),
    (b"\x28\xb5\x2f\xfd\x04", "packed with zstd"),
    (b"7z\xbc\xaf\x27\x1c\0\4", "packed with 7z"),
    (b"Rar!\x1a\x07\x01\0", "packed with rar"),
    (zipped("README.md", "weights/x.pkl"), "packed with zip: unpack it first, and import 'weights/x.pkl'"),
    (zipped(), "a zip without any file in it"),
    (zipped("config.json", "model.weights.h5"), "a Keras model"),
    (numpy_archive(), "an archive of numpy's"),
    (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file, as Keras saves"),
    (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0", "an ONNX model"),
    (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model"),
    (b"GGUF\3\0\0\0", "a GGUF file"),
    (b"\x89PNG\r\n\x1a\n", "a picture"),
    (b"\x93NUMPY\1\0", "a single array of numpy's"),
    (b"\x01\x02\x03\x04" * 100, "neither a pickle"),
    (b"PK\x03\x04" + bytes(40), "is cut short: 44 bytes are there"),
    (b"\x20\0\0\0\0\0\0\0{" + b" " * 40, "no whole safetensors"),
    (pickle.dumps({"a": 1}), "no generator"),
    (pickle.dumps([1, 2, 3]), "no generator"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), FILES, ids=[str(i) for i in range(len(FILES))])
def test_files_are_told_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as raised:
        read_checkpoint(tmp_path / "x.pkl")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'x.pkl'}: ")
    assert message.isprintable()


def test_cut_safetensors_say_how_much_is_missing(tmp_path: Path) -> None:
    whole = save(tiny_states.progan())
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for size, announced in ((2048, len(whole)), (header - 1, header)):
        (tmp_path / "x.safetensors").write_bytes(whole[:size])
        with pytest.raises(
            CheckpointError, match=f"is cut short: {size:,} bytes are there of at least {announced:,}"
        ):
            read_checkpoint(tmp_path / "x.safetensors")


def test_safetensors_of_two_gigabytes_that_hold_two_kilobytes(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**29], "data_offsets": [0, 2**31]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(2048))
    with pytest.raises(CheckpointError, match=r"bytes are there of at least 2,147,483,\d+; download it again"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_a_cut_torch_file_says_how_much_is_missing(tmp_path: Path) -> None:
    path, state = tmp_path / "x.pth", tiny_states.progan()
    torch.save(state, path)
    whole = path.read_bytes()
    numbers = 4 * sum(tensor.numel() for tensor in state.values())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is cut short") as raised:
        read_checkpoint(path)
    there, announced = (int(number.replace(",", "")) for number in re.findall(r"[\d,]{4,}", str(raised.value)))
    assert there == len(whole) // 2
    assert numbers <= announced <= len(whole)
    path.write_bytes(whole[:200])
    with pytest.raises(CheckpointError, match="is cut short: 200 bytes are there, and its end is missing"):
        read_checkpoint(path)


def test_a_cut_pickle_says_where(tmp_path: Path) -> None:
    path = tf_pickle(tmp_path / "x.pkl", tf_progan((4, 4), 4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    with pytest.raises(CheckpointError, match=f"cut short or damaged: at byte .* of {len(whole) - 500:,} it "):
        read_checkpoint(path)


def test_torchscript_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(zipped("x/data.pkl", "x/code/__torch__.py", "x/constants.pkl"))
    with pytest.raises(CheckpointError, match="a TorchScript program: save the network's state_dict"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [".part", ".crdownload", ".download", ".partial"])
def test_unfinished_downloads_are_known_by_their_names(tmp_path: Path, suffix: str) -> None:
    path = tf_pickle(tmp_path / f"x.pkl{suffix}", tf_progan((4, 4), 4))
    assert read_checkpoint(path).family == "progan"  # it may have been finished after all
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=f"ends in {suffix}, as files do that are still being downloaded"):
        read_checkpoint(path)


def test_what_aria2_has_not_finished_is_refused(tmp_path: Path) -> None:
    path = tf_pickle(tmp_path / "x.pkl", tf_progan((4, 4), 4))
    control = tmp_path / "x.pkl.aria2"
    control.write_bytes(b"\0\1\0\0")
    for file in (path, control):
        with pytest.raises(CheckpointError, match="aria2 has not finished"):
            read_checkpoint(file)
    control.unlink()
    assert read_checkpoint(path).family == "progan"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["saved_model.pb"], "a folder with TensorFlow's SavedModel"),
        (["checkpoint", "model.ckpt-5.index"], "a folder with a TensorFlow checkpoint"),
        (["data.pkl", "version"], "folder that a torch file was unpacked to"),
        (["readme.txt", "weights.pkl"], "it is a folder: give the file in it, .*weights.pkl"),
        (["a.pt", "b.pt"], "give one file of those in it, such as a.pt"),
        ([], "it is a folder: give one file$"),
    ],
)
def test_folders(tmp_path: Path, names: list[str], words: str) -> None:
    (tmp_path / "given").mkdir()
    for name in names:
        (tmp_path / "given" / name).touch()
    for reader in (read_checkpoint, lambda path: import_checkpoint(path, "mine")):
        with pytest.raises(CheckpointError, match=words):
            reader(tmp_path / "given")


def test_onnx_and_graphs_are_known_by_their_names(tmp_path: Path) -> None:
    for name, words in (("x.onnx", "an ONNX model"), ("x.pb", "a TensorFlow graph")):
        (tmp_path / name).write_bytes(b"\x0a\x01\x02\x03")
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(tmp_path / name)
