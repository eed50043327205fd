"""CelebA and CelebA-HQ: the published tables, any attribute as label, the published split."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.celeb_tables import ATTRIBUTES
from pipeline.errors import DatasetError, ManifestError
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
