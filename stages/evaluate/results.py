"""The measures of all rows: for people as a table, for programs as CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from pipeline.build import Build
from pipeline.errors import BuildError
from pipeline.ledger import read_record
from stages.evaluate.stage import Evaluate


@dataclass(frozen=True)
class Measure:
    """One classifier under one attack; `accuracy` in 0..1 of `samples` test images."""

    row: str
    shards: str
    recipe: str
    seed: int
    attack: str
    accuracy: float
    samples: int
    classifier: str


@dataclass(frozen=True)
class Cell:
    """A row's classifiers under one attack: mean and standard deviation over the seeds (None for a single one)."""

    row: str
    attack: str
    mean: float
    sd: float | None
    seeds: int
    samples: int


def gather(build: Build, stages: Sequence[Evaluate]) -> list[Measure]:
    """Read every measure from the records of finished rows."""
    measures = []
    for stage in stages:
        for seed in range(stage.seeds):
            record = read_record(build, stage.name, seed)
            if record is None:
                raise BuildError(f"{stage.name}: seed {seed} has no record: run the same command again")
            details = record["details"]
            for attack in stage.attacks:
                found = details[attack]
                measures.append(
                    Measure(
                        stage.row.label,
                        stage.row.shards,
                        stage.row.recipe,
                        seed,
                        attack,
                        found["accuracy"],
                        found["samples"],
                        details["classifier"],
                    )
                )
    return measures


def cells(measures: Sequence[Measure]) -> list[Cell]:
    """Mean and deviation of every row under every attack, in the order of the measures."""
    groups: dict[tuple[str, str], list[Measure]] = {}
    for measure in measures:
        groups.setdefault((measure.row, measure.attack), []).append(measure)
    made = []
    for (row, attack), group in groups.items():
        values = [measure.accuracy for measure in group]
        deviation = stdev(values) if len(values) > 1 else None
        made.append(Cell(row, attack, mean(values), deviation, len(values), group[0].samples))
    return made


def shown(cell: Cell) -> str:
    """In percent, e.g. `63.2 ± 1.4`."""
    return f"{100 * cell.mean:.1f}" + ("" if cell.sd is None else f" ± {100 * cell.sd:.1f}")


def as_table(table: Sequence[Cell]) -> str:
    """Lines for a terminal: a row for each set, a column for each attack."""
    rows, attacks = (list(dict.fromkeys(getattr(cell, name) for cell in table)) for name in ("row", "attack"))
    texts = {(cell.row, cell.attack): shown(cell) for cell in table}
    lines = [["accuracy, %", *attacks]]
    lines += [[row, *(texts[row, attack] for attack in attacks)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_csv(measures: Sequence[Measure]) -> str:
    """One line for each classifier and attack."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(asdict(measures[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(measure) for measure in measures)
    return buffer.getvalue()


def as_json(measures: Sequence[Measure], table: Sequence[Cell], settings: dict[str, Any]) -> str:
    """The measures, their means and the settings."""
    content = {
        "settings": settings,
        "table": [asdict(cell) for cell in table],
        "measures": [asdict(measure) for measure in measures],
    }
    return json.dumps(content, indent=1) + "\n"
