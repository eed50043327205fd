"""A walk through a folder counts every file: those that are taken, and the others with a reason."""

import os
import socket
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pipeline.datasets import walk
from pipeline.datasets.formats import ARCHIVES, IMAGE_SUFFIXES, OTHER_PICTURES
from pipeline.datasets.walk import entries_beside, list_files


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def walked(root: Path) -> walk.Listing:
    return list_files(root, IMAGE_SUFFIXES)


def test_a_suffix_is_of_a_picture_that_is_read_or_of_something_else() -> None:
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} == {
        "AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"
    }  # fmt: skip
    assert not IMAGE_SUFFIXES & (OTHER_PICTURES | ARCHIVES)
    assert {".eps", ".ps", ".pdf", ".wmf", ".svg"} <= OTHER_PICTURES


def test_every_file_is_taken_or_named(tmp_path: Path) -> None:
    taken = [f"cat/{i}{suffix}" for i, suffix in enumerate(sorted(IMAGE_SUFFIXES))] + [
        "cat/a.JPG",
        "cat/deep/b.Tiff",
    ]
    touch(tmp_path, *taken)
    others = {
        "cat/._a.jpg": walk.HIDDEN,
        "cat/.DS_Store": walk.HIDDEN,
        ".git/objects/a.png": walk.HIDDEN,
        "cat/.ipynb_checkpoints/a-checkpoint.jpg": walk.HIDDEN,
        "cat/Thumbs.db": walk.SYSTEM,
        "cat/DESKTOP.INI": walk.SYSTEM,
        "__MACOSX/cat/a.jpg": walk.SYSTEM,
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg": walk.SYSTEM,
        "lost+found/#123.jpg": walk.SYSTEM,
        "$RECYCLE.BIN/a.jpg": walk.SYSTEM,
        "System Volume Information/x.png": walk.SYSTEM,
        "PaxHeaders.4711/a.png": walk.SYSTEM,
        "~snapshot/nightly/a.png": walk.SYSTEM,
        "cat/a.HEIC": "a kind of picture that is not read (.heic)",
        "cat/a.eps": "a kind of picture that is not read (.eps)",
        "cats.zip": walk.ARCHIVE,
        "cats.tar.gz": walk.ARCHIVE,
        "cat/noname": walk.NO_SUFFIX,
        "cat/readme.txt": walk.OTHER_SUFFIX,
        "cat/a.jpg.bak": walk.OTHER_SUFFIX,
    }
    touch(tmp_path, *others)
    found = walked(tmp_path)
    assert found.taken == sorted(taken)
    assert dict(found.skipped) == others
    assert len(found.taken) + len(found.skipped) == sum(len(files) for _, _, files in os.walk(tmp_path))
    assert found.folders == ["cat", "cat/deep"]


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "été/ü.png")
    for name in (b"caf\xe9/a.png", b"ok/caf\xe9.png"):
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    found = walked(tmp_path)
    assert found.taken == ["été/ü.png"]
    assert found.skipped == [("caf\\xe9/a.png", walk.NOT_UTF8), ("ok/caf\\xe9.png", walk.NOT_UTF8)]
    assert found.folders == ["ok", "été"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "b/a.png")
    touch(tmp_path, "outside/x.png", "outside/deep/y.png", "single.png", "text.txt")
    links = {
        "a": root / "b",  # comes before the folder itself in the alphabet
        "c": tmp_path / "outside",
        "d": tmp_path / "outside" / "deep",
        "b/loop": root,
        "b/up": tmp_path,
        "b/single.png": tmp_path / "single.png",
        "b/text.txt": tmp_path / "text.txt",
        "b/gone.png": tmp_path / "gone.png",
        "b/gone": tmp_path / "gone",
        "b/gone.txt": tmp_path / "gone",
        "b/itself.png": root / "b" / "itself.png",
        ".hidden": tmp_path / "outside",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = walked(root)
    assert found.taken == [
        "b/a.png", "b/gone.png", "b/itself.png", "b/single.png", "c/deep/y.png", "c/x.png"
    ]  # fmt: skip
    assert found.unreadable == ["b/gone"]
    assert dict(found.skipped) == {
        ".hidden": walk.HIDDEN,
        "a": walk.READ_ELSEWHERE,
        "b/gone": walk.DANGLING,
        "b/gone.txt": walk.DANGLING,
        "b/loop": walk.ABOVE,
        "b/text.txt": walk.OTHER_SUFFIX,
        "b/up": walk.ABOVE,
        "d": walk.READ_ELSEWHERE,
    }


def test_a_folder_may_be_read_first_through_a_link_to_its_inside(tmp_path: Path) -> None:
    touch(tmp_path, "all/cat/x.png", "all/y.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "all" / "cat")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "all")
    found = walked(tmp_path / "root")
    assert found.taken == ["a/x.png", "b/y.png"]
    assert found.skipped == [("b/cat", walk.READ_ELSEWHERE)]


def test_pipes_and_sockets_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/a.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "link.png").symlink_to(tmp_path / "cat" / "pipe.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("cat/socket.png")
        found = walked(tmp_path)
    assert found.taken == ["cat/a.png"]
    assert Counter(reason for _, reason in found.skipped) == {walk.NO_FILE: 3}


def test_a_folder_too_deep_to_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        Path("n" * 250).mkdir()
        monkeypatch.chdir("n" * 250)
    Path("lost.png").touch()
    found = walked(tmp_path)
    assert found.taken == ["cat/a.png"]
    assert [(path.strip("n/"), reason) for path, reason in found.skipped] == [
        ("", f"{walk.UNREADABLE} (File name too long)")
    ]
    assert found.unreadable == [found.skipped[0][0]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/deep/a.png", "lost+found/x.png")
    for name in ("cat/deep", "lost+found"):
        (tmp_path / name).chmod(0)
    try:
        found = walked(tmp_path)
    finally:
        for name in ("cat/deep", "lost+found"):
            (tmp_path / name).chmod(0o700)
    assert found.skipped == [
        ("cat/deep", f"{walk.UNREADABLE} (Permission denied)"),
        ("lost+found", walk.SYSTEM),
    ]
    assert found.unreadable == ["cat/deep"]


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert walked(tmp_path / "none") == walk.Listing()
    touch(tmp_path, "file")
    assert walked(tmp_path / "file").taken == []


def test_what_lies_beside_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "pets/cat/a.png", "pets/dog/b.png", "pets/ape/c.png", ".x", "__MACOSX/y", "note.txt")
    assert entries_beside(tmp_path, "pets/cat", "not a cat", frozenset({"ape"})) == [
        (".x", walk.HIDDEN),
        ("__MACOSX/", walk.SYSTEM),
        ("note.txt", "not a cat"),
        ("pets/dog/", "not a cat"),
    ]


def test_a_link_that_is_asked_for_by_name_keeps_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "v2/cat/a.png", "test/cat/b.png")
    for name in ("train", "again"):
        (tmp_path / name).symlink_to("v2")
    (tmp_path / "up").symlink_to("..")
    found = list_files(tmp_path, IMAGE_SUFFIXES, named=["train", "again", "up", "test", "none"])
    assert found.taken == ["test/cat/b.png", "train/cat/a.png"]
    assert found.skipped == [
        ("again", walk.READ_ELSEWHERE),
        ("up", walk.ABOVE),
        ("v2", walk.READ_ELSEWHERE),
    ]
    assert walked(tmp_path).taken == ["test/cat/b.png", "v2/cat/a.png"]


def test_a_file_that_is_taken_under_several_names_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "all/a.png", ".cache/b.png")
    (tmp_path / "cat").mkdir()
    for name, target in (("a", "../all/a.png"), ("b", "../.cache/b.png"), ("c", "../.cache/b.png"), ("d", "none")):
        (tmp_path / "cat" / f"{name}.png").symlink_to(target)
    found = walked(tmp_path)
    assert found.taken == ["all/a.png", *(f"cat/{name}.png" for name in "abcd")]
    assert found.again == ["cat/a.png", "cat/c.png"]
    (note,) = found.notes()
    assert note.startswith("2 of the files are links to files that are taken under another name")
    assert walked(tmp_path / "all").notes() == []
