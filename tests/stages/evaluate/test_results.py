"""The table of all rows: its numbers, for people and for programs; and which images are attacked."""

import csv
import io
import json

import pytest

from stages.evaluate.page import render_page
from stages.evaluate.results import Measure, as_csv, as_json, as_table, cells
from stages.evaluate.stage import attacked_first

ACCURACIES = {
    ("a", "clean"): (0.5, 0.7, 0.6),
    ("a", "pgd"): (0.1, 0.1, 0.1),
    ("b", "clean"): (0.25,),
    ("b", "pgd"): (0.0,),
}
MEASURES = [
    Measure(row, row, "plain", seed, attack, accuracy, 8 if attack == "pgd" else 40, f"{row}-{seed}.toml")
    for (row, attack), accuracies in ACCURACIES.items()
    for seed, accuracy in enumerate(accuracies)
]


def test_means_and_deviations_over_the_seeds() -> None:
    table = {(cell.row, cell.attack): cell for cell in cells(MEASURES)}
    assert table["a", "clean"].mean == pytest.approx(0.6)
    assert table["a", "clean"].sd == pytest.approx(0.1)  # of a sample: divided by n - 1
    assert (table["a", "pgd"].sd, table["b", "clean"].sd) == (pytest.approx(0), None)
    assert [(cell.seeds, cell.samples) for cell in table.values()] == [(3, 40), (3, 8), (1, 40), (1, 8)]


def test_a_row_for_each_set_and_a_column_for_each_attack() -> None:
    lines = as_table(cells(MEASURES)).splitlines()
    assert [line.split() for line in lines] == [
        ["accuracy,", "%", "clean", "pgd"],
        ["a", "60.0", "±", "10.0", "10.0", "±", "0.0"],
        ["b", "25.0", "0.0"],
    ]
    assert [line.index(word) for line, word in zip(lines, ("pgd", "10.0 ± 0.0", "0.0"), strict=True)] == 3 * [
        lines[0].index("pgd")
    ]


def test_programs_get_every_measure() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(MEASURES))))
    assert [float(row["accuracy"]) for row in rows] == [measure.accuracy for measure in MEASURES]
    content = json.loads(as_json(MEASURES, cells(MEASURES), {"steps": 3}))
    assert len(content["measures"]) == len(MEASURES)
    assert content["settings"] == {"steps": 3}
    assert content["table"][0]["mean"] == pytest.approx(0.6)


def test_the_page_shows_the_table() -> None:
    page = render_page("digits", cells(MEASURES), {"steps": 3})
    places = [page.index(text) for text in ("60.0 ± 10.0", "10.0 ± 0.0", "25.0", ">0.0<")]
    assert places == sorted(places)


def test_every_set_attacks_the_same_samples() -> None:
    ids = [f"digit-{i:04d}" for i in range(40)]
    first = [ids[i] for i in attacked_first(ids).tolist()]
    assert first != ids
    assert [ids[::-1][i] for i in attacked_first(ids[::-1]).tolist()] == first
    fewer = [name for name in ids if name != first[0]]
    assert [fewer[i] for i in attacked_first(fewer).tolist()] == first[1:]
