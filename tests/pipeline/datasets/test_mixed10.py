"""Mixed-10: sixty folders of ImageNet become ten balanced classes whose splits share nothing."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets import mixed10, walk
from pipeline.datasets.mixed10_classes import MIXED10
from pipeline.errors import DatasetError
from tests.pipeline.datasets.samples import reader_of, write_image

MEMBERS = [member for members in MIXED10.values() for member in members]


def make_tree(root: Path, counts: list[int], top: str = "train") -> Path:
    """Empty files, `counts` in turn for the sixty classes: a scan does not open them."""
    for place, (_, wnid, _) in enumerate(MEMBERS):
        folder = root / top / wnid
        folder.mkdir(parents=True)
        for number in range(counts[place % len(counts)]):
            (folder / f"{wnid}_{number}.JPEG").touch()
    return root


def test_the_table_is_sixty_classes_in_imagenets_order() -> None:
    assert [len(members) for members in MIXED10.values()] == [6] * 10
    ordered = sorted(MEMBERS)
    assert len({index for index, _, _ in ordered}) == 60
    assert [wnid for _, wnid, _ in ordered] == sorted({wnid for _, wnid, _ in ordered})
    assert {151, 156, 7, 12, 300, 305, 370, 375, 407, 627, 286, 291, 555, 864, 948, 984, 991, 996, 472, 914} <= {
        index for index, _, _ in ordered
    }


@given(
    counts=st.lists(st.integers(11, 24), min_size=1, max_size=7),
    train=st.integers(1, 120),
    test=st.integers(1, 20),
)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splits_are_disjoint_balanced_and_the_same_each_time(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], train: int, test: int
) -> None:
    root = make_tree(tmp_path_factory.mktemp("mixed") / "imagenet", counts)
    wanted = {"format": "imagenet-mixed10", "train_per_class": train, "test_per_class": test}
    samples = reader_of(root, **wanted).scan()
    assert samples.equals(reader_of(root, **wanted).scan())
    assert samples["id"].is_unique
    assert samples["source"].is_unique
    for split, asked in (("train", train), ("test", test)):
        part = samples[samples["split"] == split]
        sizes = part["label"].value_counts()
        assert len(sizes) == 10
        assert sizes.nunique() == 1
        assert sizes.iloc[0] == asked or any(
            note.startswith(f"{split}: {sizes.iloc[0]} images") for note in samples.attrs["notes"]
        )
        beginning = part.head(10 * (len(part) // 20))["label"].value_counts()
        assert beginning.empty or beginning.max() - beginning.min() <= 6
    # the border is the same whatever is asked: 90 % of each class's files by name
    border = {wnid: -(-9 * counts[i % len(counts)] // 10) for i, (_, wnid, _) in enumerate(MEMBERS)}
    names = sorted(
        {wnid: sorted(p.name for p in (root / "train" / wnid).iterdir()) for _, wnid, _ in MEMBERS}.items()
    )
    rank = {f"train/{wnid}/{name}": i for wnid, files in names for i, name in enumerate(files)}
    for row in samples.itertuples():
        assert (rank[str(row.source)] < border[str(row.wnid)]) == (row.split == "train")


def test_a_full_imagenet_gives_the_papers_numbers(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [20])
    found = reader_of(root, format="imagenet-mixed10", train_per_class=100, test_per_class=12)
    samples = found.scan()
    assert samples.attrs["notes"] == []
    assert samples["split"].value_counts().to_dict() == {"train": 1000, "test": 120}
    assert found.classes == ("dog", "bird", "insect", "monkey", "car", "feline", "truck", "fruit", "fungus", "boat")
    assert samples["label"].tolist()[:12] == [*range(10), 0, 1]
    assert samples["wnid"].tolist()[0] == "n02085620"


def test_kaggles_tree_and_pixels_squashed(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11], top="ILSVRC/Data/CLS-LOC/train")
    reader = reader_of(root, format="imagenet-mixed10", crop="none", resize="bilinear")
    source = reader.scan()["source"][0]
    assert source.startswith("ILSVRC/Data/CLS-LOC/train/n02085620/")
    write_image(root / source.replace(".JPEG", ".jpg"), 50, 37).rename(root / source)
    assert reader.load(source).pixels.shape == (16, 16, 3)


def test_a_missing_class_is_said_and_the_others_make_up_for_it(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [20])
    for path in (root / "train" / "n02951358").iterdir():
        path.unlink()
    samples = reader_of(root, format="imagenet-mixed10", train_per_class=60, test_per_class=6).scan()
    assert any("'boat' lacks n02951358 (canoe)" in note for note in samples.attrs["notes"])
    assert samples["split"].value_counts().to_dict() == {"train": 600, "test": 60}


def test_notes_are_kept_with_the_table(tmp_path: Path) -> None:
    import pandas as pd

    samples = reader_of(make_tree(tmp_path / "imagenet", [12]), format="imagenet-mixed10").scan()
    samples.assign(status="pending").to_parquet(tmp_path / "s.parquet", index=False)
    notes = pd.read_parquet(tmp_path / "s.parquet").attrs["notes"]
    assert notes[0].startswith("train: 66 images of each superclass instead of 6,948, because 'dog'")


def test_a_whole_superclass_missing_is_an_error(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11])
    for _, wnid, _ in MIXED10["boat"]:
        for path in (root / "train" / wnid).iterdir():
            path.unlink()
    with pytest.raises(DatasetError, match=r"a superclass has no images.*'boat' lacks"):
        reader_of(root, format="imagenet-mixed10").scan()


def test_a_thousand_other_folders_are_refused(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11])
    for number in range(940):
        (root / "train" / f"n{number:08d}").mkdir()
    with pytest.raises(DatasetError, match="not those of ILSVRC-2012: number 151 is"):
        reader_of(root, format="imagenet-mixed10").scan()


def test_what_is_not_taken_of_imagenet_is_named(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11])
    for name in (
        "val/a.JPEG",
        "train/n00000001/b.JPEG",
        "train/other/c.JPEG",
        "LOC_x.txt",
        ".DS_Store",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "train" / "n02085620" / "notes.txt").touch()
    (root / "train" / "n02085620" / "._n02085620_0.JPEG").touch()
    samples = reader_of(root, format="imagenet-mixed10", train_per_class=30, test_per_class=3).scan()
    skipped = dict(samples.attrs["skipped"])
    images = {path for path in skipped if skipped[path] == mixed10.NOT_NEEDED}
    assert len(images) + len(samples) == 60 * 11
    assert not images & set(samples["source"])
    assert {path: reason for path, reason in skipped.items() if path not in images} == {
        ".DS_Store": walk.HIDDEN,
        "LOC_x.txt": mixed10.OUTSIDE,
        "val/": mixed10.OUTSIDE,
        "train/other/": mixed10.OUTSIDE,
        "train/n00000001/": mixed10.OTHER_CLASS,
        "train/n02085620/notes.txt": walk.OTHER_SUFFIX,
        "train/n02085620/._n02085620_0.JPEG": walk.HIDDEN,
    }


def test_images_of_one_name_in_several_classes_have_their_own_ids(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11])
    for path in list((root / "train").glob("*/*.JPEG")):
        path.rename(path.with_name(f"{path.stem.partition('_')[2]}.v1.JPEG"))
    samples = reader_of(root, format="imagenet-mixed10").scan()
    assert samples["id"].is_unique
    assert not samples["id"].str.contains(".", regex=False).any()


def test_ten_classes_are_declared_or_none(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "imagenet", [11])
    with pytest.raises(DatasetError, match="'classes' in the manifest names 2, and Mixed-10 has 10"):
        reader_of(root, format="imagenet-mixed10", classes=["a", "b"]).scan()
