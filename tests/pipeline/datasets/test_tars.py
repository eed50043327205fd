"""WebDataset tars: found again at their offsets, labels from .cls or .json, damage named."""

import io
import json
import random
import subprocess
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.base import sha256_hex
from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import encoded, reader_of, smooth


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def samples_of(start: int, count: int, **annotation: Any) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for i in range(start, start + count):
        kind = ("PNG", "JPEG", "WEBP")[i % 3]
        key = f"{i:05d}"
        members[f"{key}.{kind.lower().replace('jpeg', 'jpg')}"] = encoded(smooth(20, 20, i), kind)
        members[f"{key}.cls"] = f"{i % 4}\n".encode()
        members[f"{key}.json"] = json.dumps(
            {"shape": ["round", "flat"][i % 2], "even": i % 2 == 0, "n": i}
        ).encode()
        members[f"{key}.w.npy"] = b"x" * 1500
    return members


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    root = tmp_path / "wds"
    write_tar(root / "train-000000.tar", samples_of(0, 6))
    write_tar(root / "train-000001.tar", samples_of(6, 4))
    write_tar(root / "validation-000000.tar", samples_of(0, 3))
    return root


def test_samples_in_the_order_of_the_tars(tars: Path) -> None:
    reader = reader_of(tars, format="webdataset")
    samples = reader.scan()
    assert samples["id"].tolist() == [f"train-{i:05d}" for i in range(10)] + [f"val-{i:05d}" for i in range(3)]
    assert samples["label"].tolist() == [i % 4 for i in range(10)] + [0, 1, 2]
    assert samples["label"].dtype == "int64"
    assert reader.classes == ("0", "1", "2", "3")
    for i in (0, 4, 9):
        expected = reader_of(tars, format="webdataset").deliver(samples_of(i, 1)[next(iter(samples_of(i, 1)))])
        assert reader.load(samples["source"][i]).sha256 == expected.sha256


def test_names_as_classes(tmp_path: Path) -> None:
    root = tmp_path / "wds"
    image = encoded(smooth(20, 20))
    write_tar(root / "a.tar", {"x/1.jpg": image, "x/1.cls": b"dog", "y/1.jpg": image, "y/1.cls": b"cat"})
    reader = reader_of(root, format="webdataset")
    assert reader.classes == ("cat", "dog")
    assert reader.scan()["label"].tolist() == [1, 0]
    assert reader.scan()["id"].tolist() == ["train-x-1", "train-y-1"]
    declared = reader_of(root, format="webdataset", classes=["dog", "cat"])
    assert declared.scan()["label"].tolist() == [0, 1]
    with pytest.raises(DatasetError, match="has the class 'cat', which 'classes' in the manifest does not list"):
        reader_of(root, format="webdataset", classes=["dog"]).scan()


def test_any_key_of_the_json_may_be_the_label(tars: Path) -> None:
    assert reader_of(tars, "shape", format="webdataset").classes == ("flat", "round")
    even = reader_of(tars, "even", format="webdataset")
    assert even.classes == ("not even", "even")
    assert even.scan()["label"].tolist()[:3] == [1, 0, 1]
    with pytest.raises(ManifestError, match=r"no .json has the key 'shap', did you mean shape"):
        reader_of(tars, "shap", format="webdataset").scan()


def test_without_labels_the_keys_there_are_are_named(tmp_path: Path) -> None:
    root = tmp_path / "wds"
    write_tar(root / "a.tar", {"1.jpg": encoded(smooth(20, 20)), "1.json": b'{"class": 3}'})
    with pytest.raises(ManifestError, match=r"the samples have no .cls; name the key.*class"):
        reader_of(root, format="webdataset").scan()
    assert reader_of(root, "class", format="webdataset").scan()["label"].tolist() == [3]


def test_some_samples_without_a_label(tars: Path) -> None:
    write_tar(tars / "train-000002.tar", {"9.jpg": encoded(smooth(20, 20))})
    with pytest.raises(DatasetError, match=r"the label 'cls' is missing in 1 samples \(train-000002.tar#9 is the"):
        reader_of(tars, format="webdataset").scan()


@pytest.mark.parametrize("damage", ["cut", "text", "zipped", "json"])
def test_a_damaged_tar_is_one_sentence(tars: Path, damage: str) -> None:
    path = tars / "train-000001.tar"
    data = path.read_bytes()
    if damage == "json":
        write_tar(path, {"1.jpg": b"x", "1.json": b"{"})
    else:
        path.write_bytes(
            {"cut": data[: len(data) // 2], "text": b"hello" * 300, "zipped": b"\x1f\x8b" + data}[damage]
        )
    with pytest.raises(DatasetError, match=rf"{path} is damaged or no plain tar") as error:
        reader_of(tars, format="webdataset").scan()
    assert "\n" not in str(error.value)


def test_no_tars_and_tars_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"\*.tar .not compressed. not found in"):
        reader_of(tmp_path / "none", format="webdataset").scan()
    write_tar(tmp_path / "wds" / "a.tar", {"1.txt": b"x"})
    with pytest.raises(DatasetError, match="no images in the tar files"):
        reader_of(tmp_path / "wds", format="webdataset").scan()


def test_a_tar_that_changed_is_a_bad_sample(tars: Path) -> None:
    reader = reader_of(tars, format="webdataset")
    source = reader.scan()["source"][9]
    (tars / "train-000001.tar").write_bytes(b"short")
    with pytest.raises(SampleError, match="shorter than when it was scanned"):
        reader.load(source)
    (tars / "train-000001.tar").unlink()
    with pytest.raises(SampleError, match=r"cannot read train-000001.tar"):
        reader.load(source)


def webdataset(folder: Path, label: str | None = None, **content: Any) -> Any:
    return reader_of(folder, label, format="webdataset", **content)


def skipped(samples: Any) -> dict[str, str]:
    return dict(samples.attrs["skipped"])


PICTURES = [encoded(smooth(20, 20, i), "PNG") for i in range(6)]


@pytest.mark.parametrize(
    ("members", "labels", "reasons"),
    [
        (  # dots in keys that have labels of their own
            ["scan_0.5.png", "scan_0.5.cls=3", "scan_1.5.png", "scan_1.5.cls=1", "a.b.c.JPG", "a.b.c.cls=2"],
            {"scan_0.5": 3, "scan_1.5": 1, "a.b.c": 2},
            {},
        ),
        (  # WebDataset's extensions of several parts
            ["x.png", "x.seg.png", "x.original.png", "x.w.npy", "x.cls=1", "y.left.png", "y.cls=2"],
            {"x": 1, "y": 2},
            {"x.seg.png": "another picture of its sample", "x.original.png": "another picture of its sample",
             "x.w.npy": "neither a picture nor a label (.npy)"},
        ),
        (  # in any order
            ["x.cls=1", "x.seg.png", "x.png"], {"x": 1}, {"x.seg.png": "another picture"},
        ),
        (
            ["x.left.png", "x.right.png", "x.cls=1", "y.png", "y.cls=0"],
            {"y": 0},
            {"x.left.png": "one of several pictures", "x.right.png": "one of several", "x.cls": "belongs to no"},
        ),
        (
            ["x.png", "x.1.png", "x.cls=1", "x.1.cls=2"], {"x": 1, "x.1": 2}, {},
        ),
        (
            ["x.png", "x.jpg", "x.cls=1", "x.cls=2", "y.png", "y.png", "y.cls=0"],
            {"x": 1, "y": 0},
            {"x.jpg": "a second picture of its sample", "x.cls": "a second label", "y.png": "a second picture"},
        ),
        (
            ["d.1/x.png", "d.1/x.cls=1", "./e/x.png", "e/x.cls=2", "/f/x.png", "f/x.cls=0",
             "../x.png", "../x.cls=3"],
            {"d.1/x": 1, "e/x": 2, "f/x": 0, "../x": 3},
            {},
        ),
        (
            ["x.png", "x.cls=1", "._x.png", "__MACOSX/y.png", ".ipynb_checkpoints/x.png", "x.txt=cat", "README",
             "z.heic", "w.cls=1", "v.Some Text"],
            {"x": 1},
            {"._x.png": "hidden", "__MACOSX/y.png": "left there", ".ipynb_checkpoints/x.png": "hidden",
             "w.cls": "belongs", "x.txt": "neither a picture nor a label (.txt)", "z.heic": "a kind of picture",
             "README": "neither a picture nor a label (another suffix)", "v.Some Text": "neither"},
        ),
        (["n" * 150 + ".png", "n" * 150 + ".cls=1", "é/猫.png", "é/猫.cls=0"], {"n" * 150: 1, "é/猫": 0}, {}),
        (  # names that are not UTF-8
            ["\udcff.png", "\udcff.cls=1", "\udcfe\\x.png", "\udcfe\\x.cls=0"], {r"\xff": 1, r"\xfe\\x": 0}, {},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_what_is_a_sample_and_what_is_not(
    tmp_path: Path, members: list[str], labels: dict[str, int], reasons: dict[str, str], form: int
) -> None:
    folder = tmp_path / "wds"
    folder.mkdir()
    pictures: dict[str, bytes] = {}
    with tarfile.open(folder / "a.tar", "w", format=form) as tar:
        for i, text in enumerate(members):
            name, _, content = text.partition("=")
            data = content.encode() or encoded(smooth(20, 20, i), "PNG")
            pictures.setdefault(name.removeprefix("./").removeprefix("/"), data)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    reader = webdataset(folder)
    samples = reader.scan()
    keys = samples["source"].map(reader.key)
    assert dict(zip(keys.str.removeprefix("a.tar#"), samples["label"], strict=True)) == labels
    assert samples["id"].str.fullmatch(r"[A-Za-z0-9_-]{1,80}").all()
    assert samples["id"].is_unique
    found = skipped(samples)
    assert found.keys() == {f"a.tar/{name}" for name in reasons}
    assert all(found[f"a.tar/{name}"].startswith(reason) for name, reason in reasons.items())
    taken = {reader.digest(source) for source in samples["source"]}
    assert len(taken) == len(labels)
    assert taken <= {sha256_hex(data) for data in pictures.values()}


def test_keys_without_dots_are_ids_as_they_are(tmp_path: Path) -> None:
    write_tar(tmp_path / "wds" / "a#1%.tar", {"0001.png": PICTURES[0], "0001.cls": b"0"})
    reader = webdataset(tmp_path / "wds")
    samples = reader.scan()
    assert samples["id"].tolist() == ["train-0001"]
    assert reader.key(samples["source"][0]) == "a%231%25.tar#0001"
    assert reader.stamp(samples["source"][0]).startswith("10240:")
    assert reader.digest(samples["source"][0]) == sha256_hex(PICTURES[0])


def test_one_key_in_several_tars(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        write_tar(tmp_path / "wds" / f"{name}.tar", {"0.png": PICTURES[i], "0.cls": b"%d" % i})
    reader = webdataset(tmp_path / "wds")
    samples = reader.scan()
    assert samples["label"].tolist() == [0, 1]
    assert [reader.digest(source) for source in samples["source"]] == [sha256_hex(data) for data in PICTURES[:2]]
    assert samples["id"].str.fullmatch("train-0-[0-9a-f]{12}").all()
    assert "2 samples have a key that occurs in several tars" in samples.attrs["notes"][0]
    (tmp_path / "wds" / "b.tar").rename(tmp_path / "wds" / "Z.tar")
    assert webdataset(tmp_path / "wds").scan()["id"][1] == samples["id"][0]


def test_links_are_what_they_link_to(tmp_path: Path) -> None:
    folder = tmp_path / "wds"
    folder.mkdir()
    links = {
        "hard.png": (tarfile.LNKTYPE, "d/real.png"), "hard.cls": (tarfile.LNKTYPE, "d/real.cls"),
        "d/soft.png": (tarfile.SYMTYPE, "real.png"), "d/soft.cls": (tarfile.SYMTYPE, "../hard.cls"),
        "early.png": (tarfile.SYMTYPE, "./d/late.png"), "loop.png": (tarfile.SYMTYPE, "loop.png"),
        "out.png": (tarfile.SYMTYPE, "/etc/passwd"), "up.png": (tarfile.SYMTYPE, "../../etc/passwd"),
    }  # fmt: skip
    with tarfile.open(folder / "a.tar", "w") as tar:

        def put(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        put("d/real.png", PICTURES[0])
        put("d/real.cls", b"1")
        for name, (kind, target) in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        put("early.cls", b"0")
        put("d/late.png", PICTURES[1])
        put("d/late.cls", b"2")
    reader = webdataset(folder)
    samples = reader.scan()
    found = {
        key: (label, reader.digest(source))
        for key, label, source in zip(samples["id"], samples["label"], samples["source"], strict=True)
    }
    first, second = sha256_hex(PICTURES[0]), sha256_hex(PICTURES[1])
    assert found == {
        "train-d-real": (1, first), "train-hard": (1, first), "train-d-soft": (1, first),
        "train-early": (0, second), "train-d-late": (2, second),
    }  # fmt: skip
    assert skipped(samples) == {
        f"a.tar/{name}.png": "a link to nothing in its tar" for name in ("loop", "out", "up")
    }


def small_tar(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "wds" / "a.tar"
    members: dict[str, bytes] = {}
    for i in range(3):
        members |= {f"{i}.png": PICTURES[i], f"{i}.cls": b"%d" % i, f"{i}.json": b'{"n": %d}' % i}
    write_tar(path, members)
    return path, path.read_bytes()


def outcome(path: Path) -> str:
    """Whether a set of three samples is whole, and if not, what it is said to be."""
    reader = webdataset(path.parent)
    try:
        samples = reader.scan()
    except (DatasetError, ManifestError):
        return "refused"
    whole = [reader.digest(source) for source in samples["source"]] == [sha256_hex(data) for data in PICTURES[:3]]
    if whole and samples["label"].tolist() == samples["n"].tolist() == [0, 1, 2]:
        return "noted" if samples.attrs["notes"] or samples.attrs["skipped"] else "whole"
    return "told" if samples.attrs["notes"] or samples.attrs["skipped"] else "silent"


def test_a_tar_that_is_cut_at_any_byte_says_so(tmp_path: Path) -> None:
    path, data = small_tar(tmp_path)
    end = len(data.rstrip(b"\0")) + -len(data.rstrip(b"\0")) % 512
    for cut in {*range(0, end, 211), *range(0, end + 1, 512), *range(508, 516), end - 1}:
        path.write_bytes(data[:cut])
        assert outcome(path) == "refused", cut
    for cut in (end + 1, end + 511):
        path.write_bytes(data[:cut])
        assert outcome(path) == "refused", cut
    for cut in (end + 512, end + 1023, end + 1025):
        path.write_bytes(data[:cut])
        assert outcome(path) == "noted", cut
    path.write_bytes(data[: end + 1024])
    assert outcome(path) == "whole"


def test_a_tar_with_any_bit_of_a_header_flipped_is_refused(tmp_path: Path) -> None:
    path, data = small_tar(tmp_path)
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar]
    rng = random.Random(0)
    found = Counter[str]()
    for _ in range(120):
        at = rng.choice(starts) + rng.randrange(512)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        found[outcome(path)] += 1
    assert found.keys() <= {"refused", "whole"}  # a zero of the checksum may be a blank
    assert found["refused"] > 110


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_damage_anywhere_in_long_names_loses_nothing_in_silence(tmp_path: Path, form: int) -> None:
    path = tmp_path / "wds" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=form) as tar:
        for i in range(3):
            for suffix, data in ((".png", PICTURES[i]), (".cls", b"%d" % i)):
                info = tarfile.TarInfo("n" * 120 + str(i) + suffix)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        starts = [member.offset for member in tar]
    data = path.read_bytes()
    assert webdataset(path.parent).scan()["label"].tolist() == [0, 1, 2]
    rng = random.Random(0)
    for _ in range(60):
        at = rng.choice(starts) + rng.randrange(1536)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        try:
            samples = webdataset(path.parent).scan()
        except (DatasetError, ManifestError):
            continue
        assert len(samples) == 3 or samples.attrs["skipped"] or samples.attrs["notes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + data, "goes on behind its end, from byte 10240: .* several tars in one"),
        (lambda data: data + b"rest", "goes on behind its end, from byte 10240"),
        (
            lambda data: data[: (at := data.index(b"1.png"))] + bytes(512) + data[at + 512 :],
            "goes on behind its end",
        ),
        (lambda data: data[:4000] + bytes(len(data) - 4000), "the samples have no .cls|ends in zeros|missing"),
        (lambda data: b"PK\3\4" + data, "it is compressed with zip: unpack it"),
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "it is compressed with zstd: unpack it"),
        (lambda data: data[:512], "unexpected end of data"),
        (lambda data: b"", "empty"),
    ],
)
def test_other_damage_is_one_sentence(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "wds" / "a.tar"
    write_tar(path, {f"{i}.{kind}": data for i in range(3) for kind, data in (("png", PICTURES[i]), ("cls", b"1"))})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises((DatasetError, ManifestError), match=words) as error:
        webdataset(path.parent).scan()
    assert "\n" not in str(error.value)


def test_a_tar_that_was_cut_between_samples_and_filled_up_with_zeros_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "wds" / "a.tar"
    write_tar(path, samples_of(0, 12))
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        start = tar.getmember("00003.png" if "00003.png" in tar.getnames() else "00003.jpg").offset
    path.write_bytes(data[:start] + bytes(len(data) - start))
    samples = webdataset(path.parent).scan()
    assert len(samples) == 3
    assert f"ends in {len(data) - start:,} bytes of zeros" in samples.attrs["notes"][0]
    path.write_bytes(data[:start] + bytes(99_999))
    assert "ends in 99,999 bytes of zeros" in webdataset(path.parent).scan().attrs["notes"][0]


def test_a_tar_of_a_hostile_size_does_not_hang(tmp_path: Path) -> None:
    path, data = small_tar(tmp_path)
    header = bytearray(data[:512])
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 in base 256: back to where it was
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + data[512:])
    assert outcome(path) == "refused"


def test_a_member_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    small_tar(tmp_path)
    with pytest.raises(SampleError, match=r"more than the .* allowed"):
        webdataset(tmp_path / "wds").load(f"a.tar#0@512+{2**40}")


def test_an_empty_tar_beside_others(tmp_path: Path) -> None:
    path, _ = small_tar(tmp_path)
    write_tar(path.with_name("empty.tar"), {})
    assert outcome(path) == "noted"
    assert webdataset(path.parent).scan().attrs["skipped"] == [("empty.tar", "a tar without pictures")]


def test_sparse_members_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "wds"
    folder.mkdir()
    with (tmp_path / "0.png").open("wb") as file:
        file.write(PICTURES[0])
        file.truncate(2**20)
    (tmp_path / "1.png").write_bytes(PICTURES[1])
    (tmp_path / "1.cls").write_bytes(b"0")
    command = ["tar", "--sparse", "-C", tmp_path, "-cf", folder / "a.tar", "0.png", "1.png", "1.cls"]
    subprocess.run(command, check=True)
    samples = webdataset(folder).scan()
    assert samples["id"].tolist() == ["train-1"]
    assert skipped(samples) == {"a.tar/0.png": "a sparse file: pack it without `--sparse`"}


def test_labels_in_another_place_and_compressed_tars_are_hinted_at(tmp_path: Path) -> None:
    write_tar(tmp_path / "wds" / "a.tar", {"0.png": PICTURES[0], "0.txt": b"cat"})
    with pytest.raises(ManifestError, match=r"no .cls; .*not taken: 1: neither a picture nor a label \(.txt\)"):
        webdataset(tmp_path / "wds").scan()
    (tmp_path / "wds" / "a.tar").rename(tmp_path / "wds" / "a.tar.gz")
    with pytest.raises(DatasetError, match=r"\*.tar \(but 1 compressed, which have to be unpacked\) not found"):
        webdataset(tmp_path / "wds").scan()


def test_what_lies_beside_the_tars_is_named(tmp_path: Path) -> None:
    path, data = small_tar(tmp_path)
    for name in ("b.tar.gz", "c.tgz", "d.tar.zst", "e.zip", "sizes.json", "f.png"):
        path.with_name(name).write_bytes(data)
    packed = "compressed, and not looked into: unpack it"
    assert skipped(webdataset(path.parent).scan()) == {
        **dict.fromkeys(("b.tar.gz", "c.tgz", "d.tar.zst", "e.zip"), packed),
        **dict.fromkeys(("sizes.json", "f.png"), "not a tar"),
    }


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b"3", 3), (b"3\n", 3), (b"3\r\n", 3), (b"\xef\xbb\xbf3", 3), (b" 03 ", 3), (b"3.0", 3), (b"+3", 3),
        (b"-1", "runs from -1 to -1"), (b"", "have no .cls"), (b"\xff\xfe3\0", "0.cls: .*utf-8"),
        (b"\x80\x02", "0.cls: .*utf-8"), (b"cat\ndog", "0.cls: a class has one line"), (b"\0", "one line"),
        (b"9" * 18, "no number of a class"), (b"cat", 0), ("٣".encode(), 0), (b"9" * 30, 0), (b"0.5", 0),
        (b"x" * 2000, "have no .cls"),
    ],
)  # fmt: skip
def test_what_a_cls_says(tmp_path: Path, content: bytes, label: int | str) -> None:
    write_tar(tmp_path / "wds" / "a.tar", {"0.png": PICTURES[0], "0.cls": content})
    reader = webdataset(tmp_path / "wds")
    if isinstance(label, int):
        samples = reader.scan()
        assert samples["label"].tolist() == [label]
        text = content.decode("utf-8-sig").strip()
        assert reader.classes[label] == (text if label == 0 else "3")
    else:
        with pytest.raises((DatasetError, ManifestError), match=label):
            reader.scan()


def test_numbers_and_names_do_not_mix(tmp_path: Path) -> None:
    for i, content in enumerate((b"1", b"one")):
        write_tar(tmp_path / "wds" / f"{i}.tar", {f"{i}.png": PICTURES[0], f"{i}.cls": content})
    with pytest.raises(DatasetError, match="numbers and names mixed"):
        webdataset(tmp_path / "wds").scan()


def json_set(tmp_path: Path, *contents: str | bytes) -> Path:
    folder = tmp_path / "wds"
    for i, content in enumerate(contents):
        data = content.encode() if isinstance(content, str) else content
        write_tar(folder / f"{i}.tar", {f"{i}.png": PICTURES[i], f"{i}.json": data, f"{i}.cls": b"0"})
    return folder


def test_keys_of_the_json_are_attributes(tmp_path: Path) -> None:
    folder = json_set(
        tmp_path,
        '{"breed": "Ümläut", "n":1, "old": true, "score": 0.5, "whole": 2.0, "caption": "%s", "box": [], "id": "x"}'
        % ("long " * 50),
        '{"breed": "b", "n": null, "old": false, "whole": 3, "sometimes": 5, "mixed": 1, "label": "z", "nan": NaN}',
        b'\xef\xbb\xbf{"breed": "\\ud800", "old": true, "mixed": "one", "nan": 1, "huge": 1' + b"0" * 30 + b"}",
    )
    samples = webdataset(folder).scan()
    found = {name: samples[name].astype(object).where(samples[name].notna(), None).tolist() for name in samples}
    assert {name: values for name, values in found.items() if name not in ("id", "split", "source")} == {
        "label": [0, 0, 0],
        "breed": ["Ümläut", "b", r"\ud800"],
        "n": [1, None, None],
        "old": [True, False, True],
        "whole": [2, 3, None],
        "sometimes": [None, 5, None],
        "id_": ["x", None, None],
        "label_": [None, "z", None],
        "nan": [None, None, 1],
    }
    (note,) = samples.attrs["notes"]
    for name in (
        "score (numbers with",
        "caption (texts of",
        "box (lists",
        "mixed (numbers and names",
        "huge (numbers beyond",
    ):
        assert name in note
    assert webdataset(folder, "old").scan()["label"].tolist() == [1, 0, 1]
    assert webdataset(folder, "breed").classes == (r"\ud800", "b", "Ümläut")
    with pytest.raises(DatasetError, match="'n' is missing in 2 samples"):
        webdataset(folder, "n").scan()
    with pytest.raises(DatasetError, match="'score' is neither a number nor a name"):
        webdataset(folder, "score").scan()
    samples.to_parquet(tmp_path / "samples.parquet")


def test_keys_of_many_names_are_counted_and_the_label_is_among_those_kept(tmp_path: Path) -> None:
    folder = tmp_path / "wds"
    members: dict[str, bytes] = {}
    for i in range(60):
        keys = {f"k{i}-{j}": j for j in range(50)} | {"breed": i % 2, "label": "x", "label_": "y"}
        members |= {f"{i}.png": PICTURES[0], f"{i}.json": json.dumps(keys).encode()}
    write_tar(folder / "a.tar", members)
    samples = webdataset(folder, "breed").scan()
    assert samples["label"].tolist() == samples["breed"].tolist() == [0, 1] * 30
    assert len(samples.columns) == 4 + 1000
    (note,) = samples.attrs["notes"]
    assert "(one of more than 1,000 attributes)" in note
    assert "and 1995 more" in note


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1, "a": 2}', "given twice in one .json"),
        ("[" * 100_000, "in its member 0.json"),
        ("{", "in its member 0.json"),
        (b'{"a": "\xff"}', "in its member 0.json"),
        ("[1]", "no .json has the key 'a'"),
    ],
)
def test_a_json_that_is_none(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises((DatasetError, ManifestError), match=words):
        webdataset(json_set(tmp_path, content), "a").scan()


def test_tars_of_webdatasets_own_writer(tmp_path: Path) -> None:
    import webdataset as wds

    (tmp_path / "wds").mkdir()
    with wds.TarWriter(str(tmp_path / "wds" / "train-000000.tar")) as writer:
        for i in range(4):
            picture = np.asarray(smooth(20, 20, i))
            writer.write(
                {
                    "__key__": f"{i:04d}",
                    "png": picture,
                    "seg.png": picture,
                    "cls": i % 2,
                    "json": {"odd": i % 2 == 1},
                }
            )
    reader = webdataset(tmp_path / "wds")
    samples = reader.scan()
    assert samples["id"].tolist() == [f"train-000{i}" for i in range(4)]
    assert samples["label"].tolist() == [0, 1, 0, 1]
    assert samples["odd"].tolist() == [False, True, False, True]
    assert len({reader.digest(source) for source in samples["source"]}) == 4
    assert Counter(skipped(samples).values()) == {
        "another picture of its sample, as KEY.original.png beside KEY.png": 4
    }


def test_our_own_shards_are_a_dataset(tmp_path: Path, finished_build: Path) -> None:
    (shards,) = [path.parent for path in finished_build.glob("shards/*/wds")]
    reader = reader_of(tmp_path / "x", root=str(shards / "wds"), format="webdataset", resolution=32)
    samples = reader.scan()
    assert len(samples) > 48
    assert samples["label"].tolist() == samples["label_"].tolist()
    assert (samples["class"].astype(int) == samples["label"]).all()
    assert set(samples["kind"]) == {"original", "randmix", "mix"}
    assert ("train-" + samples["id_"] == samples["id"])[samples["split"] == "train"].all()
    reasons = Counter(reason for _, reason in samples.attrs["skipped"])
    assert reasons["neither a picture nor a label (.npy)"] == len(samples)
    assert set(reasons) == {"neither a picture nor a label (.npy)", "not a tar"}
    assert reader.load(samples["source"].iloc[-1]).pixels.shape == (32, 32, 3)


def test_classes_and_splits_that_may_be_meant_otherwise_are_told(tmp_path: Path) -> None:
    members = {"train/0.png": PICTURES[0], "train/0.cls": b"Cat", "test/1.png": PICTURES[1], "test/1.cls": b"cat"}
    write_tar(tmp_path / "wds" / "all.tar", members | {"PaxHeaders.12/0.png": b"30 mtime=1"})
    reader = webdataset(tmp_path / "wds")
    samples = reader.scan()
    assert samples[["split", "label"]].values.tolist() == [["train", 0], ["train", 1]]
    folders, classes = samples.attrs["notes"]
    assert folders.startswith("1 samples lie in folders called like splits ('test')")
    assert classes.startswith("the classes 'Cat', 'cat' differ only in case")
    assert [path for path, _ in samples.attrs["skipped"]] == ["all.tar/PaxHeaders.12/0.png"]


def test_numbers_that_begin_with_one_are_told(tmp_path: Path) -> None:
    write_tar(tmp_path / "wds" / "a.tar", {"0.png": PICTURES[0], "0.cls": b"1"})
    reader = webdataset(tmp_path / "wds")
    assert reader.scan()["label"].tolist() == [1]
    assert reader.classes == ("0", "1")
    assert reader.scan().attrs["notes"] == [
        "no sample has the label of these classes, which keep their numbers: '0'"
    ]
