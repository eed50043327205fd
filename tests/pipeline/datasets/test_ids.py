"""Ids: unique, short, the same whatever else there is, and spellings that lead back."""

import hashlib

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.ids import LONGEST, sample_ids, short_id
from pipeline.datasets.spelling import spelled, unspelled


def ids_of(*texts: str) -> list[str]:
    return sample_ids(pd.Series(texts, dtype="str")).tolist()


def marked(text: str, beginning: str) -> str:
    return f"{beginning}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def test_plain_names_are_ids() -> None:
    plain = ["digit-0003", "train-n01440764-n01440764_10026", "A", "x" * LONGEST]
    assert ids_of(*plain) == plain
    assert ids_of("a.b", "a/b", "c (1)") == ["a_b", "a-b", "c_1_"]


def test_a_digest_tells_apart_what_would_be_the_same() -> None:
    assert ids_of("a.b", "a b", "a/b") == [marked("a.b", "a_b"), marked("a b", "a_b"), "a-b"]
    assert ids_of("Cat/1", "cat/1") == [marked("Cat/1", "Cat-1"), marked("cat/1", "cat-1")]
    keys = pd.Series(["a.tar#1", "b.tar#1"], dtype="str")
    same = sample_ids(pd.Series(["train-1", "train-1"], dtype="str"), keys).tolist()
    assert same == [marked("a.tar#1", "train-1"), marked("b.tar#1", "train-1")]
    assert ids_of("1", "1") == [marked("1", "1"), marked("1", "1") + "_2"]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [("", ""), ("猫/1", "_-1"), ("é", "_"), ("NUL", "NUL"), ("com1", "com1"), ("y" * 90, "y" * 67)],
)
def test_a_digest_marks_what_is_no_id(text: str, beginning: str) -> None:
    assert ids_of(text) == [marked(text, beginning)]
    assert ids_of("other", text)[1] == ids_of(text, "another")[0]


def test_ids_of_variants_fit_too() -> None:
    assert short_id("a" * LONGEST) == "a" * LONGEST
    long = "a" * 80 + "-natra-12"
    assert short_id(long) == marked(long, "a" * 67)


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=120), max_size=12))
def test_any_names_give_good_ids_and_ids_stay(texts: list[str]) -> None:
    ids = sample_ids(pd.Series(texts, dtype="str"))
    assert ids.str.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}").all()
    assert ids.str.lower().is_unique
    assert sample_ids(ids).tolist() == ids.tolist()


@given(st.binary(max_size=40))
def test_a_spelling_leads_back(raw: bytes) -> None:
    assert unspelled(spelled(raw)) == raw


def test_text_is_spelt_as_it_is() -> None:
    assert spelled("Katze é.png".encode()) == "Katze é.png"
    assert spelled(b"a\\b\xff\n") == r"a\\b\xff\x0a"
