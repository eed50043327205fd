"""CelebA and CelebA-HQ: the published tables, any attribute as label, the published split."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import celeb_faces, walk
from pipeline.datasets.celeb_tables import ATTRIBUTES
from pipeline.errors import DatasetError, ManifestError, SampleError
from tests.pipeline.datasets.samples import reader_of, write_image

COUNT = 12
VALUES = np.random.default_rng(3).choice([-1, 1], (COUNT, 40))
IDENTITIES = [2880, 2937, 2880, 7, 7, 2937, 10177, 7, 1, 1, 2880, 7]
SMILING = ATTRIBUTES.index("Smiling")


def attribute_table(names: list[str]) -> str:
    rows = [f"{name} " + " ".join(f"{v:2d}" for v in values) for name, values in zip(names, VALUES, strict=True)]
    return f"{len(names)}\n{' '.join(ATTRIBUTES)} \n" + "\n".join(rows) + "\n"


def write_celeba(root: Path) -> Path:
    names = [f"{i + 1:06d}.jpg" for i in range(COUNT)]
    for i, name in enumerate(names):
        write_image(root / "img_align_celeba" / name, 178, 218, seed=i)
    (root / "list_attr_celeba.txt").write_text(attribute_table(names))
    splits = [0] * 8 + [1] * 2 + [2] * 2
    (root / "list_eval_partition.txt").write_text("".join(f"{n} {s}\n" for n, s in zip(names, splits, strict=True)))
    (root / "identity_CelebA.txt").write_text("".join(f"{n} {i}\n" for n, i in zip(names, IDENTITIES, strict=True)))
    return root


def write_celeba_hq(root: Path) -> Path:
    names = [f"{i}.jpg" for i in range(COUNT)]
    for i, name in enumerate(names):
        write_image(root / "CelebA-HQ-img" / name, 32, 32, seed=i)
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text(attribute_table(names))
    originals = [1, 162_770, 162_771, 182_637, 182_638, 202_599, *range(2, 8)]
    rows = [f"{i:<8}{n - 1:<12}{n:06d}.jpg" for i, n in enumerate(originals)]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx     orig_idx    orig_file\n" + "\n".join(rows) + "\n"
    )
    return root


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return write_celeba(tmp_path / "celeba")


@pytest.fixture
def celeba_hq(tmp_path: Path, celeba: Path) -> Path:
    return write_celeba_hq(tmp_path / "CelebAMask-HQ")


def test_the_published_tables_become_one(celeba: Path) -> None:
    reader = reader_of(celeba, format="celeba")
    samples = reader.scan()
    assert samples["id"].tolist() == [f"{i + 1:06d}" for i in range(COUNT)]
    assert samples["split"].tolist() == ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    assert samples["label"].dtype == np.int64
    assert (samples[list(ATTRIBUTES)].to_numpy() == (VALUES + 1) // 2).all()
    assert (samples["label"] == samples["Smiling"]).all()
    assert samples["identity"].tolist() == IDENTITIES
    assert reader.classes == ("not Smiling", "Smiling")
    assert samples.attrs["notes"] == []
    assert reader.load(samples["source"][3]).pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("label", ["Wearing_Hat", "wearing hat", "Young"])
def test_any_attribute_may_be_the_label(celeba: Path, label: str) -> None:
    reader = reader_of(celeba, label, format="celeba")
    name = {"wearing hat": "Wearing_Hat"}.get(label, label)
    assert reader.manifest.label == name
    assert (reader.scan()["label"] == reader.scan()[name]).all()
    assert reader.classes[0] == f"not {reader.classes[1]}"


def test_identities_are_numbered_by_rank(celeba: Path) -> None:
    reader = reader_of(celeba, "identity", format="celeba")
    samples = reader.scan()
    assert [int(reader.classes[label]) for label in samples["label"]] == IDENTITIES
    assert reader.classes == ("1", "7", "2880", "2937", "10177")


def test_an_unknown_attribute_gets_the_nearest(celeba: Path) -> None:
    with pytest.raises(ManifestError, match=r"key 'label' = 'Smilling'.*did you mean Smiling"):
        reader_of(celeba, "Smilling", format="celeba")
    with pytest.raises(ManifestError, match="Wearing_Hat"):
        reader_of(celeba, "Hat_Wearing", format="celeba")


def test_kaggles_tables_are_read_as_well(celeba: Path) -> None:
    plain = reader_of(celeba, format="celeba").scan()
    for name, header in (("list_eval_partition", "image_id,partition"), ("list_attr_celeba", None)):
        lines = (celeba / f"{name}.txt").read_text().splitlines()
        lines = [header, *lines] if header else ["image_id " + lines[1], *lines[2:]]
        (celeba / f"{name}.csv").write_text("\n".join(",".join(line.split()) for line in lines) + "\n")
        (celeba / f"{name}.txt").unlink()
    (celeba / "identity_CelebA.txt").unlink()
    images = celeba / "img_align_celeba"
    images.rename(celeba / "moved")
    images.mkdir()
    (celeba / "moved").rename(images / "img_align_celeba")  # Kaggle's folder in a folder
    # the first line of a csv header written with commas only
    reader = reader_of(celeba, format="celeba")
    found = reader.scan()
    assert "identity" not in found
    assert (found[list(ATTRIBUTES)] == plain[list(ATTRIBUTES)]).all(axis=None)
    assert reader.load(found["source"][0]).sha256 == reader.load(found["source"][0]).sha256
    with pytest.raises(DatasetError, match=r"identity_CelebA.txt not found"):
        reader_of(celeba, "identity", format="celeba").scan()


def test_what_is_missing_is_named(celeba: Path) -> None:
    (celeba / "list_eval_partition.txt").unlink()
    assert "list_eval_partition.txt not found" in reader_of(celeba, format="celeba").problem()


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("list_attr_celeba.txt", lambda text: text[: len(text) // 2], "cut short|fit together"),
        ("list_attr_celeba.txt", lambda text: text.replace("Smiling", "Smirking"), "lacks the attributes Smiling"),
        ("list_attr_celeba.txt", lambda text: "<html>no</html>", "not a table of CelebA's attributes"),
        ("list_eval_partition.txt", lambda text: text[: len(text) // 2], "do not fit together: 'split'"),
        ("list_eval_partition.txt", lambda text: text.replace(" 2\n", " 5\n"), "do not fit together: 'split'"),
        ("list_eval_partition.txt", lambda text: "", "not a table of file names"),
        ("identity_CelebA.txt", lambda text: text.splitlines()[0], "do not fit together: 'identity'"),
    ],
)
def test_a_damaged_table_is_one_sentence(celeba: Path, file: str, change: object, words: str) -> None:
    path = celeba / file
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(DatasetError, match=words) as error:
        reader_of(celeba, format="celeba").scan()
    assert "\n" not in str(error.value)


def test_images_that_are_not_there_are_counted(celeba: Path) -> None:
    (celeba / "img_align_celeba" / "000002.jpg").unlink()
    assert "1 of the 12 images" in reader_of(celeba, format="celeba").scan().attrs["notes"][0]


def test_celeba_hq_takes_celebas_split(celeba_hq: Path) -> None:
    reader = reader_of(celeba_hq, format="celeba-hq")
    samples = reader.scan()
    assert samples["split"].tolist()[:6] == ["train", "train", "val", "val", "test", "test"]
    assert samples["original"].tolist()[:3] == [1, 162_770, 162_771]
    assert (samples["label"] == (VALUES[:, SMILING] + 1) // 2).all()
    assert samples["id"].tolist()[:2] == ["00000", "00001"]
    assert reader.load(samples["source"][0]).pixels.shape == (16, 16, 3)


def test_celeba_hq_may_lie_a_folder_deeper(celeba_hq: Path) -> None:
    reader = reader_of(celeba_hq.parent, format="celeba-hq")
    assert reader.load(reader.scan()["source"][5]).pixels.std() > 1


def test_celeba_hq_needs_celebas_table_for_identities(celeba_hq: Path, celeba: Path) -> None:
    with pytest.raises(DatasetError, match=r"identity_CelebA.txt .of CelebA. not found"):
        reader_of(celeba_hq, "identity", format="celeba-hq").scan()
    originals = reader_of(celeba_hq, format="celeba-hq").scan()["original"]
    lines = [f"{number:06d}.jpg {5 + number % 2}" for number in originals]
    (celeba_hq / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    reader = reader_of(celeba_hq, "identity", format="celeba-hq")
    assert reader.classes == ("5", "6")
    assert (reader.scan()["label"] == originals % 2).all()


def test_celeba_hq_with_a_mapping_cut_short(celeba_hq: Path) -> None:
    path = celeba_hq / "CelebA-HQ-to-CelebA-mapping.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(DatasetError, match="lacks 2 of the images"):
        reader_of(celeba_hq, format="celeba-hq").scan()


def test_all_attributes_have_names_for_their_values(celeba: Path) -> None:
    values = reader_of(celeba, format="celeba").scan().attrs["label_values"]
    assert list(values) == [*ATTRIBUTES, "identity"]
    assert values["Wearing_Hat"] == {"0": "not Wearing Hat", "1": "Wearing Hat"}
    assert list(values["identity"].items()) == [(n, n) for n in ("1", "7", "2880", "2937", "10177")]
    (celeba / "identity_CelebA.txt").unlink()
    declared = reader_of(celeba, "Male", format="celeba", classes=["women", "men"])
    values = declared.scan().attrs["label_values"]
    assert "identity" not in values
    assert values["Male"] == {"0": "women", "1": "men"}
    assert declared.classes == ("women", "men")
    with pytest.raises(DatasetError, match="'classes' in the manifest names 3, and the label 'Male' has 2"):
        reader_of(celeba, "Male", format="celeba", classes=["a", "b", "c"]).scan()


def test_every_file_is_a_row_or_named(celeba: Path) -> None:
    write_image(celeba / "img_align_celeba" / "999999.jpg")
    write_image(celeba / "img_align_celeba" / "000003.png")
    write_image(celeba / "img_celeba" / "000001.jpg")
    for name in ("list_bbox_celeba.txt", "img_align_celeba.zip", "img_align_celeba/._000001.jpg"):
        (celeba / name).touch()
    (celeba / "img_align_celeba" / "000002.jpg").unlink()
    samples = reader_of(celeba, format="celeba").scan()
    assert dict(samples.attrs["skipped"]) == {
        "img_align_celeba/._000001.jpg": walk.HIDDEN,
        "img_align_celeba/000003.png": celeb_faces.SECOND,
        "img_align_celeba/999999.jpg": celeb_faces.NOT_LISTED,
        "img_align_celeba.zip": walk.ARCHIVE,
        "img_celeba/000001.jpg": celeb_faces.OUTSIDE,
        "list_bbox_celeba.txt": walk.OTHER_SUFFIX,
    }
    assert samples["source"].tolist() == [f"img_align_celeba/{i + 1:06d}.jpg" for i in range(COUNT)]
    assert len(samples.attrs["notes"]) == 1
    with pytest.raises(SampleError, match="cannot read the file"):
        reader_of(celeba, format="celeba").load(samples["source"][1])


def test_images_of_another_suffix_than_the_tables_say(celeba: Path) -> None:
    for path in (celeba / "img_align_celeba").iterdir():
        path.unlink()
    (celeba / "img_align_celeba").rename(celeba / "Img_Align_CelebA_PNG")
    for i in range(COUNT):
        write_image(celeba / "Img_Align_CelebA_PNG" / f"{i + 1:06d}.png", 20, 20, seed=i)
    samples = reader_of(celeba, format="celeba").scan()
    assert samples["source"].tolist()[:2] == ["Img_Align_CelebA_PNG/000001.png", "Img_Align_CelebA_PNG/000002.png"]
    assert samples["id"].tolist()[:2] == ["000001", "000002"]
    assert samples.attrs["notes"] == ["12 images have another suffix, or another case, than the tables say"]
    assert samples.attrs["skipped"] == []


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: "\n".join("\t".join(line.split()) for line in text.splitlines()).encode(),
        lambda text: text.replace("\n", "\n\n").encode() + b"\n \n",
        lambda text: text.replace(".jpg", ".JPG").encode(),
        lambda text: text.replace(".jpg", ".png").encode(),
    ],
    ids=["crlf", "bom", "utf16", "tabs", "blank lines", "capitals", "png"],
)
def test_tables_from_windows_and_elsewhere_have_the_same_values(celeba: Path, rewrite: object) -> None:
    plain = reader_of(celeba, format="celeba").scan()
    for path in celeba.glob("*.txt"):
        path.write_bytes(rewrite(path.read_text()))  # type: ignore[operator]
        path.rename(path.with_name(path.name.upper()))
    found = reader_of(celeba, format="celeba").scan()
    assert found.drop(columns="source").equals(plain.drop(columns="source"))
    assert found["source"].tolist() == plain["source"].tolist()


@pytest.mark.parametrize("mark", [",", ";", ", "])
def test_tables_from_a_spreadsheet_have_the_same_values(celeba: Path, mark: str) -> None:
    plain = reader_of(celeba, format="celeba").scan()
    for name, header in (
        ("list_attr_celeba", ["", "image_id", *ATTRIBUTES]),
        ("list_eval_partition", ["", "image_id", "partition"]),
        ("identity_CelebA", None),
    ):
        lines = [line.split() for line in (celeba / f"{name}.txt").read_text().splitlines()]
        rows = [[str(i), *line] for i, line in enumerate(lines[2:] if name == "list_attr_celeba" else lines)]
        rows = [header, *rows] if header else rows
        (celeba / f"{name}.CSV").write_text("\n".join(mark.join(f'"{field}"' for field in row) for row in rows))
        (celeba / f"{name}.txt").unlink()
    assert reader_of(celeba, format="celeba").scan().equals(plain)


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_a_table_that_is_no_text_is_one_sentence(celeba: Path, encoding: str) -> None:
    path = celeba / "list_eval_partition.txt"
    path.write_bytes(("é.jpg 0\n" + path.read_text()).encode(encoding))
    with pytest.raises(DatasetError, match=r"list_eval_partition.txt is not text.*UTF-8"):
        reader_of(celeba, format="celeba").scan()


@pytest.mark.parametrize("file", ["list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"])
def test_repeated_rows_are_told_or_refused(celeba: Path, file: str) -> None:
    path, lines = celeba / file, (celeba / file).read_text().splitlines()
    plain = reader_of(celeba, format="celeba").scan()
    repeated = [*lines, lines[-1], lines[-2]]
    path.write_text("\n".join([f"{COUNT + 2}", *repeated[1:]] if "attr" in file else repeated))
    samples = reader_of(celeba, format="celeba").scan()
    assert samples.equals(plain)
    assert samples.attrs["notes"] == [f"{file} lists 2 images more than once, with the same values"]
    name, *values = lines[-1].split()
    values[-1] = {"-1": "1", "1": "-1"}.get(values[-1], "1")
    repeated = [*lines, " ".join([name, *values])]
    path.write_text("\n".join([f"{COUNT + 1}", *repeated[1:]] if "attr" in file else repeated))
    with pytest.raises(DatasetError, match=rf"{file} has two rows for 000012.jpg that differ"):
        reader_of(celeba, format="celeba").scan()


def test_rows_that_only_another_table_has_are_told(celeba: Path) -> None:
    with (celeba / "list_eval_partition.txt").open("a") as file:
        file.write("000013.jpg 2\n")
    notes = reader_of(celeba, format="celeba").scan().attrs["notes"]
    assert notes == ["list_eval_partition.txt lists 1 images that list_attr_celeba.txt does not"]


def test_values_that_are_no_attributes_are_refused(celeba: Path) -> None:
    path = celeba / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(" 1", " 7", 1))
    with pytest.raises(DatasetError, match=r"which are -1 or 1: it has \[-1, 1, 7\]"):
        reader_of(celeba, format="celeba").scan()


def test_celeba_hqs_files_are_rows_or_named(celeba_hq: Path) -> None:
    write_image(celeba_hq / "CelebAMask-HQ-mask-anno" / "0" / "00000_hair.png")
    write_image(celeba_hq / "CelebA-HQ-img" / "30000.jpg")
    samples = reader_of(celeba_hq, format="celeba-hq").scan()
    assert samples.attrs["skipped"] == [
        ("CelebA-HQ-img/30000.jpg", celeb_faces.NOT_LISTED),
        ("CelebAMask-HQ-mask-anno/0/00000_hair.png", celeb_faces.OUTSIDE),
    ]
    assert samples.attrs["label_values"]["Smiling"] == {"0": "not Smiling", "1": "Smiling"}
    mapping = celeba_hq / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text(
        mapping.read_text() + mapping.read_text().splitlines()[1].replace("000001.jpg", "000009.jpg")
    )
    with pytest.raises(DatasetError, match="has two rows for 000001"):
        reader_of(celeba_hq, format="celeba-hq").scan()


def test_a_label_of_one_value_is_told(celeba: Path) -> None:
    path = celeba / "list_attr_celeba.txt"
    count, header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([count, header, *(row.replace("-1", "1") for row in rows)]))
    notes = reader_of(celeba, format="celeba").scan().attrs["notes"]
    assert notes == ["no sample has the label of these classes, which keep their numbers: 'not Smiling'"]
