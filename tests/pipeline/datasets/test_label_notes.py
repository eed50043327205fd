"""What is told of classes and splits once a dataset is listed."""

import pandas as pd
import pytest

from pipeline.datasets.label_notes import folder_notes, label_notes, number_notes


def table(labels: list[int], splits: str = "", **columns: list[str | None]) -> pd.DataFrame:
    names = {"r": "train", "v": "val", "t": "test"}
    found = pd.DataFrame({"label": labels, "split": [names[letter] for letter in splits or "r" * len(labels)]})
    return found.assign(
        id="", source="", **{name: pd.Series(values, dtype="str") for name, values in columns.items()}
    )


def test_a_plain_dataset_has_no_note() -> None:
    assert label_notes(table([0, 1, 0, 1], "rrtt", fold=["train", "train", "test", "test"]), ("cat", "dog")) == []


def test_classes_that_lack_samples_anywhere_or_in_a_split() -> None:
    assert label_notes(table([1, 2, 2], "rrv"), ("0", "1", "2")) == [
        "no sample has the label of these classes, which keep their numbers: '0'",
        "the split 'val' has no images of some classes: '1'",
    ]


def test_classes_that_are_hardly_different() -> None:
    (note,) = label_notes(table([0, 1, 2]), ("Cat ", "cat", "dog"))
    assert note.startswith("the classes 'Cat ', 'cat' differ only in case")


@pytest.mark.parametrize(
    ("classes", "label"),
    [("10 9", "'9' has the label 1"), ("0 1 10 11 2", "'2' has the label 4"), ("0 1 2 10", ""), ("7 x 1", "")],
)
def test_numbers_that_sort_as_texts(classes: str, label: str) -> None:
    notes = number_notes(classes.split())
    assert [label in note for note in notes] == ([True] if label else [])


def test_a_column_that_says_other_splits() -> None:
    values = ["train", "testing", None, "Validation"]
    (note,) = label_notes(table([0, 0, 0, 0], split_=values, city=["test", "Bonn", "Rome", "Ulm"]), ("cat",))
    assert note.startswith("2 samples are called 'Validation', 'testing' by 'split_', but taken as 'train'")


def test_folders_in_archives_that_are_called_like_splits() -> None:
    (note,) = folder_notes(["train/cat/0", "test/cat/1", "2"], ["train"] * 3)
    assert note.startswith("1 samples lie in folders called like splits ('test/cat') inside archives")
    assert folder_notes(["test/0", "a/1"], ["test", "test"]) == []
