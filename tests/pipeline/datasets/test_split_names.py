"""Splits are recognised by the names of files and folders, and only there."""

import pytest

from pipeline.datasets.split_names import said, split_of, splits_in, splits_of


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train Train TRAINING training_set trainingSet train2017 trainval train_val train-images 01_train",
        ),
        ("val", "val Valid validation VALIDATION-set dev dev1 val2017 val_256x256 development Validate images_val"),
        ("test", "test Testing test_set TestImages test2015 eval Evaluation holdout hold-out Held_Out test-v2"),
        ("test", "testA testB TestSet split=test test(1) test[0] test~1 subset=evaluation test-copy HoldOut"),
        ("train", "trainA trainB01 Train(2) split=train"),
    ],
)
def test_a_folder_that_is_called_as_a_split(split: str, names: str) -> None:
    for name in names.split():
        found = said(name)
        assert found is not None, name
        assert (found.split, found.alone, found.sure) == (split, True, True), name


@pytest.mark.parametrize(
    "name",
    [
        "cat",
        "latest",
        "contest",
        "invalid",
        "developer",
        "trained",
        "trains",
        "testa",
        "iPhone",
        "protest",
        "0001",
        "",
    ],
)
def test_words_that_hold_a_split_in_them_are_none(name: str) -> None:
    assert said(name) is None


def test_a_word_behind_counts_only_where_there_is_a_pair() -> None:
    assert splits_in(["test_tubes", "beaker", "train_station"]) == {}
    assert splits_in(["test_tubes", "train_tubes"]) == {"test_tubes": "test", "train_tubes": "train"}
    assert splits_in(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("Test-000.tar", "test"),
        ("testing/0.tar", "test"),
        ("val2017-00.parquet", "val"),
        ("dev-00000-of-00002.parquet", "val"),
        ("default/train-00000-of-00001-a09b74b3ef9c3b56.parquet", "train"),
        ("imagenet1k-validation-03.tar", "val"),
        ("cifar_test_batch.tar", "test"),
        ("Holdout/train/7.tar", "train"),
        ("train/Holdout/7.tar", "test"),
        ("test_tubes-000.tar", "train"),
        ("test_tubes/val-000.tar", "val"),
        ("test-0001.snappy.parquet", "test"),
        ("split=test/0.parquet", "test"),
        ("test (1).tar", "test"),
        ("testA.tar", "test"),
        ("MNISTTest.tar", "test"),
        ("trains-0.tar", "train"),
    ],
)
def test_the_split_is_in_a_path(path: str, split: str) -> None:
    assert split_of(path) == split


def test_files_that_say_nothing_beside_others_are_told() -> None:
    splits, notes = splits_of(["Test-0.tar", "a.tar", "b.tar"])
    assert splits == ["test", "train", "train"]
    assert len(notes) == 1
    assert "2 of the 3 files say no split" in notes[0]
    assert notes[0].endswith("the first is a.tar")
    assert splits_of(["a.tar", "b.tar"]) == (["train", "train"], [])
    assert splits_of(["train-0.tar", "val-0.tar"]) == (["train", "val"], [])
    assert splits_of([]) == ([], [])


def test_files_of_a_pair_are_taken_and_a_lone_one_is_told() -> None:
    assert splits_of(["train_cats-0.tar", "train_cats-1.tar", "test_cats-0.tar"]) == (
        ["train", "train", "test"],
        [],
    )
    splits, notes = splits_of(["test_cats-0.tar", "cats-0.tar"])
    assert splits == ["train", "train"]
    assert notes[0].endswith("the first is test_cats-0.tar")


def test_a_name_of_any_length_takes_no_time() -> None:
    assert said("train" + "1" * 200 + "x" * 50) is None
    assert said("test-" + "a1-" * 80) is not None
